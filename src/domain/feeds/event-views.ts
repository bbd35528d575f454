import { Connection } from '../../model/connection.ts';
import { Credential } from '../../model/credential.ts';
import type { EventRow } from '../../model/outbox-event.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import type { EventType } from '../events/event-types.ts';
import { reconnectUrl } from '../tokens/reconnect-url.ts';

/** An event as a caller sees it. */
export type EventView = EventRow & { reconnectUrl: string };

const NEEDS_PERSON: EventType = 'connection.reauthorization_required';

/**
 * Events with the links by which persons grant access again. A link is made for who reads, and for no longer than an hour: it is not stored with an event, which is
 * kept for a month and told to many. Who may not begin an authorization gets none.
 */
export async function eventViews(call: Call, rows: EventRow[]): Promise<EventView[]> {
  const ids = rows.filter(({ type }) => type === NEEDS_PERSON).map(({ aggregateId }) => aggregateId);
  const links = ids.length > 0 && call.principal.permissions.has('connection:update') ? await linksOf(call, ids) : null;
  return rows.map((row) => ({
    ...row,
    reconnectUrl: (row.type === NEEDS_PERSON && links?.get(row.aggregateId)) || '',
  }));
}

function linksOf(call: Call, ids: string[]): Promise<Map<string, string>> {
  const { tenantId } = call.principal;
  return read(call, async (em) => {
    const where = { tenantId, id: { $in: ids }, status: 'REAUTHORIZATION_REQUIRED' as const };
    const connections = await em.find(Connection, where);
    const credentials = await em.find(Credential, { tenantId, connectionId: { $in: connections.map(({ id }) => id) } });
    const generations = new Map(credentials.map(({ connectionId, generation }) => [connectionId, generation]));
    return new Map(
      connections.map(({ id, integrationId, status }) => {
        const generation = generations.get(id) ?? 0;
        return [id, reconnectUrl(call.app, { tenantId, connectionId: id, integrationId, generation, status })];
      }),
    );
  });
}
