import { defineEntity, p } from '@mikro-orm/core';
import type { Place } from '../crypto/keyring.ts';

export type EndpointDisabledReason = 'caller' | 'gone' | 'failing';

/** What an endpoint is told: what whoever last set its URL could see then. */
export type Audience = {
  administrator: boolean;
  permissions: string[];
  /** Null: all. */
  projectIds: string[] | null;
};

/** Where events are sent to. */
const schema = defineEntity({
  name: 'EventEndpoint',
  tableName: 'event_endpoint',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    projectId: p.text().strictNullable(),
    description: p.text(),
    url: p.text(),
    /** As JSON, sealed; null: none. */
    headers: p.blob().strictNullable(),
    headerNames: p.json<string[]>(),
    /** Empty: all. */
    eventTypes: p.json<string[]>(),
    /** CEL; empty: none. */
    filter: p.text(),
    includeInboundContent: p.boolean(),
    audience: p.json<Audience>(),
    secret: p.blob(),
    previousSecret: p.blob().strictNullable(),
    previousSecretExpireTime: p.datetime().strictNullable(),
    secretGeneration: p.integer(),
    enabled: p.boolean(),
    /** Empty: it is enabled. */
    disabledReason: p.text().$type<EndpointDisabledReason | ''>(),
    startPosition: p.bigint('number'),
    failingSince: p.datetime().strictNullable(),
    failedTime: p.datetime().strictNullable(),
    version: p.integer(),
    createTime: p.datetime(),
    updateTime: p.datetime(),
  },
});

export class EventEndpoint extends schema.class {
  etag(): string {
    return `v${this.version}`;
  }

  /** Notes a change: a new etag and update time. */
  changed(now: Date): void {
    this.version += 1;
    this.updateTime = now;
  }

  /** Puts in a new secret, sealed for the next generation. The one before signs until `overlapEnd`; null: it ends at once. */
  rotate(secret: Buffer, overlapEnd: Date | null): void {
    this.previousSecret = overlapEnd && this.secret;
    this.previousSecretExpireTime = overlapEnd;
    this.secret = secret;
    this.secretGeneration += 1;
  }

  /** @param startPosition events up to it are not sent */
  enable(startPosition: number): void {
    Object.assign(this, { enabled: true, disabledReason: '', failingSince: null, failedTime: null, startPosition });
  }

  disable(reason: EndpointDisabledReason): void {
    Object.assign(this, { enabled: false, disabledReason: reason });
  }

  /** What events say it is about. */
  aggregate() {
    const { id, version: generation, projectId } = this;
    return { type: 'event_endpoint', id, generation, projectId, ownerUserId: null };
  }

  /** What the audit log and events say of it: no secrets, and of the URL, which may hold one, the host alone. */
  summary() {
    return {
      project_id: this.projectId,
      description: this.description,
      host: new URL(this.url).host,
      event_types: this.eventTypes,
      filter: this.filter,
      include_inbound_content: this.includeInboundContent,
      header_names: this.headerNames,
      secret_generation: this.secretGeneration,
      enabled: this.enabled,
      disabled_reason: this.disabledReason,
      owned_events: this.audience.administrator,
      version: this.version,
    };
  }
}
schema.setClass(EventEndpoint);

/** Where a signing secret of an endpoint is sealed for: the present one, and under the generation before it the previous one. */
export function endpointSecretPlace(tenantId: string, endpointId: string, generation: number): Place {
  return { tenantId, table: 'event_endpoint', column: 'secret', rowId: endpointId, generation };
}

/** Where an endpoint's own headers are sealed for. */
export function endpointHeadersPlace(tenantId: string, endpointId: string): Place {
  return { tenantId, table: 'event_endpoint', column: 'headers', rowId: endpointId, generation: 0 };
}
