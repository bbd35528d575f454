import { defineEntity, p } from '@mikro-orm/core';
import type { JsonObject } from './json.ts';

/** What happened, for others to know: written in the transaction of the change that it speaks of. */
const schema = defineEntity({
  name: 'OutboxEvent',
  tableName: 'outbox',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    type: p.text(),
    aggregateType: p.text(),
    aggregateId: p.text(),
    generation: p.integer(),
    /** Who may see what it speaks of, as it was then; null: everybody in the tenant. */
    ownerUserId: p.text().strictNullable(),
    projectId: p.text().strictNullable(),
    payload: p.json<JsonObject>(),
    createTime: p.datetime(),
  },
});

export class OutboxEvent extends schema.class {}
schema.setClass(OutboxEvent);

/** An event as it is stored. */
export type EventRow = {
  tenantId: string;
  id: string;
  type: string;
  aggregateType: string;
  aggregateId: string;
  generation: number;
  ownerUserId: string | null;
  projectId: string | null;
  payload: JsonObject;
  createTime: Date;
  /** Order of reading; 0: it has none yet. */
  position: number;
};
