import { defineEntity, p } from '@mikro-orm/core';
import type { JsonObject } from './json.ts';

/** An event that waits to be told to others, written in the transaction of the change that it speaks of. */
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
    payload: p.json<JsonObject>(),
    createTime: p.datetime(),
  },
});

export class OutboxEvent extends schema.class {}
schema.setClass(OutboxEvent);
