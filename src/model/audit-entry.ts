import { defineEntity, p } from '@mikro-orm/core';
import type { JsonObject } from './json.ts';

export type ActorKind = 'user' | 'api_key' | 'system';

/** One entry of the audit log. The service may insert and read, nothing else. */
const schema = defineEntity({
  name: 'AuditEntry',
  tableName: 'audit_entry',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    actorKind: p.text().$type<ActorKind>(),
    actorId: p.text(),
    onBehalfOf: p.text(),
    action: p.text(),
    resourceType: p.text(),
    resourceId: p.text(),
    before: p.json<JsonObject>().strictNullable(),
    after: p.json<JsonObject>().strictNullable(),
    requestId: p.text(),
    address: p.text(),
    createTime: p.datetime(),
  },
});

export class AuditEntry extends schema.class {}
schema.setClass(AuditEntry);

/** An audit entry about a read. */
export type ReadEntry = {
  tenantId: string;
  id: string;
  actorKind: ActorKind;
  actorId: string;
  onBehalfOf: string;
  action: string;
  resourceType: string;
  resourceId: string;
  requestId: string;
  address: string;
  /** ms since the epoch. */
  time: number;
};
