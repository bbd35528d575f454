import { EventEndpoint } from '../../model/event-endpoint.ts';
import type { App } from '../call.ts';
import { changeIn } from '../change.ts';
import { eventOf, type StoredEvent } from '../feeds/event-row.ts';
import { bodyFor } from './audience.ts';
import { deliveriesOf, storeEventDeliveries } from './tell-events.ts';

const BATCH = 100;

/**
 * Makes deliveries of a tenant's next events, one for each endpoint that is sent the event, and notes how far that came: all in one transaction, by who holds the lease. Events from
 * before an endpoint was made, or enabled, are not for it.
 */
export async function fanOutEvents(app: App, tenantId: string, epoch: number): Promise<void> {
  const read = await changeIn(app, tenantId, async (em) => {
    const [row] = await em.execute<{ position: string }[]>(
      'select position from latchkey.event_fan_out where tenant_id = ?',
      [tenantId],
    );
    // Its tenant is being removed.
    if (!row) return null;
    const rows = await em.execute<StoredEvent[]>(
      `select * from latchkey.outbox where tenant_id = ? and position > ? order by position limit ${BATCH}`,
      [tenantId, row.position],
    );
    // After the events: whatever endpoint was there before one of them is among these.
    const endpoints = await em.find(EventEndpoint, { tenantId, enabled: true }, { orderBy: { id: 'asc' } });
    return { position: Number(row.position), events: rows.map(eventOf), endpoints };
  });
  if (!read) return;
  const { position, events, endpoints } = read;
  const { deliveries, last } = await deliveriesOf(app, tenantId, events, endpoints, (endpoint, event) =>
    event.position > endpoint.startPosition ? bodyFor(endpoint, event) : null,
  );
  await changeIn(app, tenantId, async (em) => {
    const held = await em.execute(
      `update latchkey.event_fan_out set position = ?, lease_until = null where tenant_id = ? and lease_epoch = ? returning 1`,
      [last?.position ?? position, tenantId, epoch],
    );
    // Whoever has taken over makes the same deliveries.
    if (held.length > 0) await storeEventDeliveries(em, tenantId, deliveries, 'never');
  });
}
