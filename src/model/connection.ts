import { defineEntity, p } from '@mikro-orm/core';
import type { Place } from '../crypto/keyring.ts';
import type { JsonObject } from './json.ts';

/** Kinds of credential, as they are stored. */
export const CREDENTIAL_KINDS = [
  'api_key',
  'bearer',
  'basic',
  'aws',
  'smtp',
  'ftp',
  'custom',
  'oauth2',
  'client_credentials',
  'login',
] as const;
export type CredentialKind = (typeof CREDENTIAL_KINDS)[number];
/** What is stored of a connection's state; the rest is derived from it and from the time. */
export type StoredStatus = 'PENDING' | 'ACTIVE' | 'REAUTHORIZATION_REQUIRED' | 'REVOKED';

/** How often a connection is checked by itself. */
export type CheckSchedule = 'OFF' | 'HOURLY' | 'EVERY_6_HOURS' | 'DAILY' | 'WEEKLY';
/** A request that tells whether a credential works. */
export type HttpCheck = {
  /** Below the base URL, or a whole URL. */
  path: string;
  method: 'GET' | 'HEAD' | 'POST';
  /** By HTTP status. */
  outcomes: Record<string, 'valid' | 'invalid' | 'restricted'>;
};

/** A third-party account and how it is called. */
const schema = defineEntity({
  name: 'Connection',
  tableName: 'connection',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    projectId: p.text().strictNullable(),
    ownerUserId: p.text().strictNullable(),
    name: p.text(),
    displayName: p.text(),
    provider: p.text(),
    kind: p.text().$type<CredentialKind>(),
    baseUrl: p.text(),
    allowedHosts: p.json<string[]>(),
    defaultHeaders: p.json<Record<string, string>>(),
    timeoutMs: p.integer(),
    retries: p.integer(),
    backoffMs: p.integer(),
    isDefault: p.boolean(),
    labels: p.json<Record<string, string>>(),
    metadata: p.json<JsonObject>(),
    config: p.json<JsonObject>(),
    providerAccountId: p.text(),
    providerAccountEmail: p.text(),
    providerAccountMetadata: p.json<JsonObject>(),
    webhookSignatureSecret: p.blob().strictNullable(),
    /** Null: it is checked as its provider or its kind has it. */
    httpCheck: p.json<HttpCheck>().strictNullable(),
    checkSchedule: p.text().$type<CheckSchedule>(),
    failureThreshold: p.integer(),
    recoveryThreshold: p.integer(),
    /** The one before, with which webhooks are signed too until it expires. */
    previousWebhookSecret: p.blob().strictNullable(),
    previousWebhookSecretExpireTime: p.datetime().strictNullable(),
    enabled: p.boolean(),
    integrationId: p.text().strictNullable(),
    status: p.text().$type<StoredStatus>(),
    statusReason: p.text(),
    requestedScopes: p.json<string[]>(),
    grantedScopes: p.json<string[]>(),
    missingScopes: p.json<string[]>(),
    version: p.integer(),
    lastTestedAt: p.datetime().strictNullable(),
    lastUsedAt: p.datetime().strictNullable(),
    createTime: p.datetime(),
    updateTime: p.datetime(),
  },
});

export class Connection extends schema.class {
  etag(): string {
    return `v${this.version}`;
  }

  /** Notes a change: a new etag and update time. */
  changed(now: Date): void {
    this.version += 1;
    this.updateTime = now;
  }

  /** It has a new credential, with these scopes. */
  granted(scopes: string[]): void {
    this.status = 'ACTIVE';
    this.statusReason = '';
    this.requestedScopes = scopes;
    this.grantedScopes = scopes;
    this.missingScopes = [];
  }

  /** What events are about. */
  aggregate() {
    const { id, ownerUserId, projectId } = this;
    return { type: 'connection', id, generation: this.version, ownerUserId, projectId };
  }

  /** What the audit log and events say of it: no secrets, no values of headers, none of the caller's data. */
  summary() {
    return {
      name: this.name,
      display_name: this.displayName,
      project_id: this.projectId,
      owner_user_id: this.ownerUserId,
      provider: this.provider,
      kind: this.kind,
      base_url: this.baseUrl,
      allowed_hosts: this.allowedHosts,
      default_headers: Object.keys(this.defaultHeaders),
      timeout_ms: this.timeoutMs,
      retries: this.retries,
      backoff_ms: this.backoffMs,
      is_default: this.isDefault,
      labels: this.labels,
      provider_account_id: this.providerAccountId,
      provider_account_email: this.providerAccountEmail,
      http_check: this.httpCheck,
      check_schedule: this.checkSchedule,
      failure_threshold: this.failureThreshold,
      recovery_threshold: this.recoveryThreshold,
      enabled: this.enabled,
      integration_id: this.integrationId,
      status: this.status,
      requested_scopes: this.requestedScopes,
      granted_scopes: this.grantedScopes,
      version: this.version,
    };
  }
}
schema.setClass(Connection);

/** Where a connection's webhook signature secret is sealed for. */
export function webhookSecretPlace(tenantId: string, connectionId: string): Place {
  return { tenantId, table: 'connection', column: 'webhook_signature_secret', rowId: connectionId, generation: 0 };
}

/** Where the one before is sealed for. */
export function previousWebhookSecretPlace(tenantId: string, connectionId: string): Place {
  return { tenantId, table: 'connection', column: 'previous_webhook_secret', rowId: connectionId, generation: 0 };
}
