import { newId } from '../../base/id.ts';
import type { Em } from '../../db/transaction.ts';
import type { JsonObject } from '../../model/json.ts';
import { OutboxEvent } from '../../model/outbox-event.ts';
import type { ToolCall } from '../call.ts';
import type { EventType } from './event-types.ts';

/** What an event is about. The generation tells its versions apart. */
export type Aggregate = { type: string; id: string; generation: number };
/** The same of what not everybody in the tenant may see. */
export type OwnedAggregate = Aggregate & { ownerUserId: string | null; projectId: string | null };

type AggregateOf<Type extends EventType> =
  Type extends `${'connection' | 'account' | 'secret' | 'inbound_endpoint' | 'inbound_message' | 'event_endpoint' | 'connector'}.${string}`
    ? OwnedAggregate
    : Aggregate;

/** An owner that is none: of what is gone, with all that was known of who may see it. Administrators see it. */
export const UNKNOWN_OWNER = 'unknown';

/** Adds an event to the outbox, in the transaction of the change that it speaks of. The payload carries no secret. */
export function event<Type extends EventType>(
  em: Em,
  call: ToolCall,
  type: Type,
  aggregate: AggregateOf<Type>,
  payload: JsonObject = {},
): void {
  const now = call.app.clock.now();
  const { ownerUserId = null, projectId = null }: Partial<OwnedAggregate> = aggregate;
  em.persist(
    em.create(OutboxEvent, {
      ...{ tenantId: call.principal.tenantId, id: newId('evt', now), type },
      ...{ aggregateType: aggregate.type, aggregateId: aggregate.id, generation: aggregate.generation },
      ...{ ownerUserId, projectId, payload, createTime: new Date(now) },
    }),
  );
}
