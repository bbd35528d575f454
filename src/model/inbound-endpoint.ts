import { defineEntity, p } from '@mikro-orm/core';
import type { Place } from '../crypto/keyring.ts';

export type InboundScheme =
  | 'STANDARD_WEBHOOKS'
  | 'HMAC_TIMESTAMP'
  | 'SLACK_V0'
  | 'GITHUB_SHA256'
  | 'STRIPE'
  | 'TOKEN'
  | 'NONE'
  | 'CUSTOM';

/** How a provider signs: data alone, in the shape of the contract's SignatureDescription, which has the meaning of each field. */
export type SignatureDescription = {
  signatureHeader: string;
  timestampHeader: string;
  signedContent: string;
  algorithm: 'sha256' | 'sha1' | 'sha512';
  encoding: 'hex' | 'base64';
  prefix: string;
  separator: '' | ',' | ' ' | ';';
  timestampPrefix: string;
  timestampFormat: 'unix_s' | 'unix_ms' | 'rfc3339';
  keyEncoding: 'raw' | 'base64' | 'whsec';
  toleranceS: number;
};

/** How an endpoint verifies messages, as it was given. */
export type InboundVerification = {
  scheme: InboundScheme;
  /** Of CUSTOM. */
  signature: SignatureDescription | null;
  /** Of TOKEN. */
  tokenHeader: string;
  tokenPrefix: string;
  /** Empty: as the scheme has it. */
  idHeader: string;
  idPointer: string;
};

/** Where a third party sends webhooks to. */
const schema = defineEntity({
  name: 'InboundEndpoint',
  tableName: 'inbound_endpoint',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    projectId: p.text().strictNullable(),
    /** Who owns the connection. */
    ownerUserId: p.text().strictNullable(),
    connectionId: p.text().strictNullable(),
    provider: p.text(),
    name: p.text(),
    enabled: p.boolean(),
    verification: p.json<InboundVerification>(),
    /** A JSON array of texts, sealed. */
    signingSecrets: p.blob().strictNullable(),
    signingSecretCount: p.integer(),
    secretGeneration: p.integer(),
    maxBodyBytes: p.integer(),
    maxPerMinute: p.integer(),
    retentionDays: p.integer(),
    /** In lower case. */
    keepHeaders: p.json<string[]>(),
    version: p.integer(),
    createTime: p.datetime(),
    updateTime: p.datetime(),
  },
});

export class InboundEndpoint extends schema.class {
  etag(): string {
    return `v${this.version}`;
  }

  /** Notes a change: a new etag and update time. */
  changed(now: Date): void {
    this.version += 1;
    this.updateTime = now;
  }

  /** What events are about. */
  aggregate() {
    const { id, ownerUserId, projectId } = this;
    return { type: 'inbound_endpoint', id, generation: this.version, ownerUserId, projectId };
  }

  /** What the audit log and events say of it: no secrets. */
  summary() {
    return {
      name: this.name,
      project_id: this.projectId,
      owner_user_id: this.ownerUserId,
      connection_id: this.connectionId,
      provider: this.provider,
      enabled: this.enabled,
      scheme: this.verification.scheme,
      signing_secrets: this.signingSecretCount,
      secret_generation: this.secretGeneration,
      max_body_bytes: this.maxBodyBytes,
      max_per_minute: this.maxPerMinute,
      retention_days: this.retentionDays,
      keep_headers: this.keepHeaders,
      version: this.version,
    };
  }
}
schema.setClass(InboundEndpoint);

/** Where an endpoint's signing secrets are sealed for. */
export function signingSecretsPlace(tenantId: string, endpointId: string, generation: number): Place {
  return { tenantId, table: 'inbound_endpoint', column: 'signing_secrets', rowId: endpointId, generation };
}
