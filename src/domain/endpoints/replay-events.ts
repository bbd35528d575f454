import { fieldInvalid } from '../../base/error.ts';
import { leastId } from '../../base/id.ts';
import { type Conditions, oneOf } from '../../db/paging.ts';
import type { Em } from '../../db/transaction.ts';
import type { EventRow } from '../../model/outbox-event.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change, read } from '../change.ts';
import { eventOf, type StoredEvent } from '../feeds/event-row.ts';
import { endpointDisabled } from '../webhooks/endpoint-target.ts';
import { bodyFor } from './audience.ts';
import { checkTypes } from './endpoint-input.ts';
import { deliveriesOf, storeEventDeliveries } from './tell-events.ts';
import { findManagedEndpoint } from './visibility.ts';

const MOST_AT_ONCE = 1_000;

/** Which events: from a time on, or after an event. */
export type Replay = {
  since: Date | null;
  afterEventId: string;
  /** Empty: all that the endpoint is sent. */
  eventTypes: string[];
  includeDelivered: boolean;
};

/**
 * Sends kept events to an endpoint again, or for the first time, the oldest first, under their own ids. Those that are on their way are left alone.
 * Fails with EVENT_ENDPOINT_NOT_FOUND, EVENT_ENDPOINT_DISABLED, FIELD_INVALID.
 */
export async function replayEvents(
  call: Call,
  id: string,
  replay: Replay,
): Promise<{ count: number; lastEventId: string; more: boolean }> {
  const { app, principal } = call;
  const { tenantId } = principal;
  const { since, afterEventId, eventTypes, includeDelivered } = replay;
  if ((since === null) === (afterEventId === '')) throw fieldInvalid('since', 'is given, or after_event_id is');
  checkTypes(eventTypes);
  const from = since
    ? { sql: 'id >= ?', params: [leastId('evt', since.getTime())] }
    : { sql: 'id > ?', params: [afterEventId] };
  const { endpoint, events, known } = await read(call, async (em) => {
    const found = await findManagedEndpoint(em, call, id);
    if (!found.enabled) throw endpointDisabled(id);
    const rows = await readFrom(em, tenantId, from);
    return { endpoint: found, events: rows, known: await knownDeliveries(em, tenantId, id, rows) };
  });
  const body = (_: unknown, event: EventRow) => bodyFor(endpoint, event, eventTypes);
  const { deliveries, last } = await deliveriesOf(app, tenantId, events, [endpoint], body, known);
  const count = await change(call, async (em) => {
    // One after the other, and not while events are passed on: all of them make the same deliveries, each in an order of its own.
    await em.execute('select from latchkey.event_fan_out where tenant_id = ? for update', [tenantId]);
    const sent = await storeEventDeliveries(em, tenantId, deliveries, includeDelivered ? 'all' : 'failed');
    const after = { count: sent, last_event_id: last?.id ?? '' };
    audit(em, call, 'event_endpoint_replayed', { type: 'event_endpoint', id }, { after });
    return sent;
  });
  const more = events.length === MOST_AT_ONCE || last?.id !== events.at(-1)?.id;
  return { count, lastEventId: last?.id ?? '', more };
}

/** In the order of their ids, which is that of time. What has no position yet is on its way anyway. */
async function readFrom(em: Em, tenantId: string, from: Conditions[number]): Promise<EventRow[]> {
  const rows = await em.execute<StoredEvent[]>(
    `select * from latchkey.outbox where tenant_id = ? and position is not null and ${from.sql} order by id limit ${MOST_AT_ONCE}`,
    [tenantId, ...from.params],
  );
  return rows.map(eventOf);
}

async function knownDeliveries(em: Em, tenantId: string, endpointId: string, events: readonly EventRow[]) {
  const ids = events.map(({ id }) => id);
  const ofEvents = oneOf('message_id', ids);
  const rows = await em.execute<{ id: string; message_id: string }[]>(
    `select id, message_id from latchkey.delivery where tenant_id = ? and signed_by = ? and purpose = 'event' and ${ofEvents.sql}`,
    [tenantId, endpointId, ...ofEvents.params],
  );
  return new Map(rows.map(({ id, message_id }) => [message_id, id]));
}
