import { setImmediate as breathe } from 'node:timers/promises';
import { DELIVERY_DUE } from '../../db/listen.ts';
import type { Em } from '../../db/transaction.ts';
import type { EventEndpoint } from '../../model/event-endpoint.ts';
import type { EventRow } from '../../model/outbox-event.ts';
import type { App } from '../call.ts';
import { announce } from '../change.ts';
import type { EventType } from '../events/event-types.ts';
import type { EventBody } from './event-body.ts';
import { eventDelivery } from './event-delivery.ts';
import { inboundContent } from './inbound-content.ts';

/** A batch ends when its requests take so much memory, or making them so much time, of which filters may take tens of ms each: whoever makes it holds a lease, and others wait. */
const MOST_BYTES = 8 * 1024 * 1024;
const MOST_MS = 5_000;
/** Others have their turn when it has taken so long. */
const BREATH_MS = 10;
const WITH_CONTENT: EventType = 'inbound_message.received';

type EventDelivery = ReturnType<typeof eventDelivery> & { projectId: string | null };
/** Deliveries of events up to `last`; null: there were none. */
type Batch = { deliveries: EventDelivery[]; last: EventRow | null };

/**
 * Makes deliveries of a tenant's events, in their order, to the endpoints that `bodyOf` has a body for. Nothing is stored.
 * @param known ids of deliveries that there are, by event
 */
export async function deliveriesOf(
  app: App,
  tenantId: string,
  events: readonly EventRow[],
  endpoints: readonly EventEndpoint[],
  bodyOf: (endpoint: EventEndpoint, event: EventRow) => EventBody | null,
  known: ReadonlyMap<string, string> = new Map(),
): Promise<Batch> {
  const seal = await app.keyring.sealer(tenantId);
  const batch: Batch = { deliveries: [], last: null };
  const start = app.clock.monotonic();
  let [bytes, breathed] = [0, start];
  for (const event of events) {
    for (const endpoint of endpoints) {
      if (app.clock.monotonic() - breathed > BREATH_MS) {
        await breathe();
        breathed = app.clock.monotonic();
      }
      const body = bodyOf(endpoint, event);
      if (!body) continue;
      if (endpoint.includeInboundContent && event.type === WITH_CONTENT)
        body.data.content = await inboundContent(app, tenantId, event.aggregateId);
      const told = { purpose: 'event' as const, eventId: event.id, body };
      const delivery = eventDelivery(endpoint, told, seal, app.clock.now(), known.get(event.id));
      batch.deliveries.push({ ...delivery, projectId: endpoint.projectId });
      bytes += delivery.sealed.length;
    }
    batch.last = event;
    if (bytes > MOST_BYTES || app.clock.monotonic() - start > MOST_MS) break;
  }
  return batch;
}

const STORE = `
insert into latchkey.delivery as d (tenant_id, id, message_id, purpose, signed_by, project_id, host, lane, method, sealed, timeout_ms, backoff_ms, max_attempts, attempt_count, attempts, status, error, awaited,
    due_time, lease_epoch, create_time)
  select ?, r.id, r."messageId", r.purpose, r."signedBy", r."projectId", r.host, r.lane, r.method, decode(r.sealed, 'base64'), r."timeoutMs", r."backoffMs", r."maxAttempts", 0, '[]', 'PENDING', '', false,
      clock_timestamp(), 0, clock_timestamp()
    from json_to_recordset(cast(? as json)) as r (id text, "messageId" text, purpose text, "signedBy" text, "projectId" text, host text, lane integer, method text, sealed text, "timeoutMs" integer,
      "backoffMs" integer, "maxAttempts" integer)
   order by r.id
  on conflict (tenant_id, signed_by, message_id) where purpose = 'event'`;

const AGAIN = `
  do update set status = 'PENDING', error = '', attempt_count = 0, sealed = excluded.sealed, host = excluded.host, due_time = clock_timestamp(), settle_time = null, lease_epoch = d.lease_epoch + 1
  where d.id = excluded.id and d.settle_time is not null and (d.status <> 'SUCCEEDED' or cast(? as boolean))`;

/** Stores deliveries of events. Answers how many are sent because of it. @param again what becomes of those that there are */
export async function storeEventDeliveries(
  em: Em,
  tenantId: string,
  deliveries: readonly EventDelivery[],
  again: 'never' | 'failed' | 'all',
): Promise<number> {
  if (deliveries.length === 0) return 0;
  const rows = deliveries.map(({ task: { request, ...task }, sealed, projectId }) => {
    return { ...task, projectId, sealed: sealed.toString('base64') };
  });
  const conflict = again === 'never' ? { sql: ' do nothing', params: [] } : { sql: AGAIN, params: [again === 'all'] };
  const stored = await em.execute<{ id: string }[]>(`${STORE}${conflict.sql} returning d.id`, [
    ...[tenantId, JSON.stringify(rows)],
    ...conflict.params,
  ]);
  announce(em, DELIVERY_DUE);
  return stored.length;
}
