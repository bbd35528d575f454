import { newId } from '../../base/id.ts';
import type { Em } from '../../db/transaction.ts';
import type { JsonObject } from '../../model/json.ts';
import { OutboxEvent } from '../../model/outbox-event.ts';
import type { Call } from '../call.ts';

/** What an event is about. The generation orders the events of one aggregate. */
export type Aggregate = { type: string; id: string; generation: number };

/** Adds an event to the outbox, in the transaction of the change that it speaks of. The payload carries no secret. */
export function event(em: Em, call: Call, type: string, aggregate: Aggregate, payload: JsonObject = {}): void {
  const now = call.app.clock.now();
  em.persist(
    em.create(OutboxEvent, {
      tenantId: call.principal.tenantId,
      id: newId('evt', now),
      type,
      aggregateType: aggregate.type,
      aggregateId: aggregate.id,
      generation: aggregate.generation,
      payload,
      createTime: new Date(now),
    }),
  );
}
