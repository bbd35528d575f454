import { describe, expect, it } from 'vitest';
import { EventOrder } from '../../gen/latchkey/v1/event_service_pb.ts';
import { Granting, granted } from '../harness/granting.ts';

const at = new Granting();

const eventsOf = async (connectionId: string) =>
  (await at.clients.events.listEvents({ filter: { connectionId }, order: EventOrder.CREATE_TIME_ASC })).events;
const typesOf = async (connectionId: string) => (await eventsOf(connectionId)).map(({ type }) => type);

/** Has a connection refreshed as if its tokens were old, and nothing had just failed. */
async function refresh(connectionId: string): Promise<void> {
  const [row] = await at.server.database.sql<{ tenant_id: string }>(
    `update latchkey.credential set expire_time = now() + interval '10 min', refresh_not_before = null where connection_id = $1 returning tenant_id`,
    [connectionId],
  );
  at.server.replica.app.forget({ kind: 'connection', tenantId: row!.tenant_id, id: connectionId });
  await at.clients.connections.refreshConnection({ connectionId }).catch(() => {});
}

describe('Events of tokens', () => {
  it('say that renewing fails, and that it works again', async () => {
    const { connectionId } = await at.authorize(granted());
    at.provider.answers('/token', { status: 503, body: {} });
    await refresh(connectionId);
    at.provider.answers('/token', granted({ access_token: 'at-2' }));
    await refresh(connectionId);
    await refresh(connectionId);
    expect(await typesOf(connectionId)).toEqual([
      ...['connection.created', 'connection.authorized', 'connection.refresh_failed'],
      ...['connection.refreshed', 'connection.recovered', 'connection.refreshed'],
    ]);
  });

  it('say that scopes changed, and to what', async () => {
    const { connectionId } = await at.authorize(granted({ scope: 'read write' }));
    at.provider.answers('/token', granted({ scope: 'read' }));
    await refresh(connectionId);
    await refresh(connectionId);
    const changed = (await eventsOf(connectionId)).filter(({ type }) => type === 'connection.scopes_changed');
    expect(changed.map(({ payload }) => payload)).toMatchObject([
      { scopes: ['read'], scopes_before: ['read', 'write'] },
    ]);
  });

  it('say where to send the person who must act, to who may, and store no such link', async () => {
    const { connectionId } = await at.authorize(granted());
    at.provider.answers('/token', { status: 400, body: { error: 'invalid_grant' } });
    await refresh(connectionId);
    const [event] = (await eventsOf(connectionId)).slice(-1);
    expect(event).toMatchObject({ type: 'connection.reauthorization_required' });
    expect(event!.reconnectUrl).toMatch(/\/oauth\/start\?reconnect=/);
    const page = await fetch(event!.reconnectUrl, { redirect: 'manual' });
    expect(page.headers.get('location')).toContain('/authorize');
    const stored = await at.server.database.sql('select payload from latchkey.outbox where aggregate_id = $1', [
      connectionId,
    ]);
    expect(JSON.stringify(stored)).not.toContain('reconnect');
    const { secret } = await at.clients.access.createApiKey({
      displayName: 'k',
      scopes: ['event:read', 'connection:read'],
    });
    const reader = at.server.clients('grpc', { 'x-api-key': secret });
    const { events } = await reader.events.listEvents({ filter: { types: ['connection.reauthorization_required'] } });
    expect(events.map(({ reconnectUrl }) => reconnectUrl)).toEqual(['']);
  });
});
