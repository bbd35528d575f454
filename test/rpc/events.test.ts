import { expect, it } from 'vitest';
import { EventOrder } from '../../gen/latchkey/v1/event_service_pb.ts';
import { bearer } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { asFailure, failureOf } from '../harness/errors.ts';
import type { Clients } from '../harness/server.ts';
import { Watch } from '../harness/watching.ts';

const WITHIN = { timeout: 5_000, interval: 10 };

async function newConnection({ connections }: Clients, name: string): Promise<string> {
  return (await connections.createConnection({ name, credential: bearer('very-secret') })).connection!.id;
}

describeRpc('EventService.ListEvents', ({ as, tenant, server, transport }) => {
  it('tells what happened, newest first, without secrets', async () => {
    const admin = await as('admin');
    const id = await newConnection(admin, 'c');
    await admin.connections.disableConnection({ connectionId: id });
    const { events } = await admin.events.listEvents({ filter: { connectionId: id } });
    expect(events.map(({ type }) => type)).toEqual(['connection.disabled', 'connection.created']);
    expect(events[0]).toMatchObject({ aggregateType: 'connection', aggregateId: id, generation: 2 });
    expect(events[0]?.id).toMatch(/^evt_[0-9a-hjkmnp-tv-z]{26}$/);
    expect(events[0]?.payload).toMatchObject({ enabled: false, name: 'c', kind: 'bearer' });
    expect(Number(events[0]?.createTime?.seconds)).toBeGreaterThan(1.7e9);
    expect(JSON.stringify(events.map(({ payload }) => payload))).not.toContain('very-secret');
  });

  it('filters, orders, counts and pages', async () => {
    const admin = await as('admin');
    for (let i = 0; i < 5; i++) await newConnection(admin, `c${i}`);
    await admin.secrets.createSecret({ name: 's', value: 'v' });
    const list = { filter: { types: ['connection.created'] }, order: EventOrder.CREATE_TIME_ASC, pageSize: 3 };
    const first = await admin.events.listEvents({ ...list, withTotalSize: true });
    const second = await admin.events.listEvents({ ...list, pageToken: first.nextPageToken });
    const names = [...first.events, ...second.events].map(({ payload }) => payload?.name);
    expect(names).toEqual(['c0', 'c1', 'c2', 'c3', 'c4']);
    expect([first.totalSize, second.nextPageToken]).toEqual([5, '']);
    const secrets = await admin.events.listEvents({ filter: { aggregateType: 'secret' } });
    expect(secrets.events.map(({ type }) => type)).toEqual(['secret.created']);
    const { createTime } = secrets.events[0]!;
    expect((await admin.events.listEvents({ since: createTime!, withTotalSize: true })).totalSize).toBe(1);
    expect(
      (await admin.events.listEvents({ before: createTime!, filter: { aggregateType: 'secret' } })).events,
    ).toEqual([]);
    const forged = { ...list, order: EventOrder.CREATE_TIME_DESC, pageToken: first.nextPageToken };
    expect((await failureOf(admin.events.listEvents(forged))).reason).toBe('PAGE_TOKEN_INVALID');
  });

  it('refuses a type that does not exist, which would match nothing for ever', async () => {
    const { events } = await as('admin');
    const failure = await failureOf(events.listEvents({ filter: { types: ['connection.borked'] } }));
    expect(failure).toMatchObject({ reason: 'FIELD_INVALID', fields: ['filter.types'] });
    expect((await failureOf(events.listEvents({ filter: { connectionId: 'x' } }))).reason).toBe('FIELD_INVALID');
  });

  it('is for who may read events, and shows what they may see', async () => {
    const admin = await as('admin');
    const manager = await as('resource_manager');
    const alice = await as('requestor', { subject: 'alice' });
    expect((await failureOf(alice.events.listEvents({}))).metadata.permission).toBe('event:read');
    const shared = await newConnection(manager, 'shared');
    const own = await newConnection(alice, 'own');
    await alice.connections.deleteConnection({ connectionId: own });
    await admin.access.createApiKey({ displayName: 'k', scopes: ['connection:read'] });
    const seen = async (clients: Clients, aggregateId: string) =>
      (await clients.events.listEvents({ filter: { aggregateId } })).events.map(({ type }) => type);
    expect(await seen(manager, shared)).toEqual(['connection.created']);
    // Also after it is gone, and to who asks for its id.
    expect(await seen(manager, own)).toEqual([]);
    expect(await seen(admin, own)).toEqual(['connection.deleted', 'connection.created']);
    const types = async (clients: Clients) =>
      new Set((await clients.events.listEvents({ pageSize: 100 })).events.map(({ aggregateType }) => aggregateType));
    expect(await types(admin)).toEqual(new Set(['tenant', 'user', 'connection', 'api_key']));
    expect(await types(manager)).toEqual(new Set(['tenant', 'connection']));
    const foreign = await as('admin', { tenant: `${tenant()}-x` });
    expect(await seen(foreign, shared)).toEqual([]);
  });

  it('limits a key to its projects', async () => {
    const admin = await as('admin');
    const make = (name: string, projectId: string) =>
      admin.connections.createConnection({ name, projectId, credential: bearer('t') });
    await make('in', 'p1');
    await make('out', 'p2');
    const scopes = ['event:read', 'connection:read'];
    const { secret } = await admin.access.createApiKey({ displayName: 'k', scopes, projectIds: ['p1'] });
    const key = server().clients(transport, { 'x-api-key': secret });
    const list = await key.events.listEvents({ filter: { aggregateType: 'connection' } });
    expect(list.events.map(({ payload }) => payload?.name)).toEqual(['in']);
    const watch = await Watch.start(key);
    await make('out again', 'p2');
    await make('in again', 'p1');
    await expect.poll(() => watch.events.map(({ payload }) => payload?.name), WITHIN).toEqual(['in again']);
    await watch.stop();
  });
});

describeRpc('EventService.WatchEvents', ({ as, tenant, server, transport }) => {
  it('tells events as they happen, in the order of their changes', async () => {
    const admin = await as('admin');
    const watch = await Watch.start(admin, { filter: { aggregateType: 'connection' } });
    const id = await newConnection(admin, 'c');
    await admin.connections.disableConnection({ connectionId: id });
    await admin.connections.enableConnection({ connectionId: id });
    await admin.connections.deleteConnection({ connectionId: id });
    const all = ['created', 'disabled', 'enabled', 'deleted'].map((what) => `connection.${what}`);
    await expect.poll(() => watch.types, WITHIN).toEqual(all);
    await watch.stop();
  });

  it('goes on from a cursor, of a watch or of a list, and misses nothing', async () => {
    const admin = await as('admin');
    const { cursor } = await admin.events.listEvents({});
    const watch = await Watch.start(admin);
    await newConnection(admin, 'one');
    await expect.poll(() => watch.types, WITHIN).toContain('connection.created');
    await watch.stop();
    for (let i = 0; i < 150; i++) await admin.secrets.createSecret({ name: `s${i}`, value: 'v' });
    const resumed = await Watch.start(admin, { cursor: watch.cursors.at(-1)! });
    await expect.poll(() => resumed.events.length, WITHIN).toBe(150);
    expect(resumed.events.map(({ payload }) => payload?.name)).toEqual(Array.from({ length: 150 }, (_, i) => `s${i}`));
    const fromList = await Watch.start(admin, { cursor, filter: { types: ['connection.created', 'secret.created'] } });
    await expect.poll(() => fromList.events.length, WITHIN).toBe(151);
    for (const open of [resumed, fromList]) await open.stop();
  });

  it('has a heartbeat with a cursor', async () => {
    const admin = await as('admin');
    const watch = await Watch.start(admin, { heartbeat: { seconds: 1n } });
    await expect.poll(() => watch.cursors.length, WITHIN).toBe(3);
    expect(watch.events).toEqual([]);
    await watch.stop();
    const refused = await Watch.start(admin, { heartbeat: { seconds: 61n } });
    expect(asFailure(await refused.ended)).toMatchObject({ reason: 'FIELD_INVALID', fields: ['heartbeat'] });
  });

  it('ends within 5 s when the key that began it is revoked, and tells nothing more', async () => {
    const admin = await as('admin');
    const { secret, apiKey } = await admin.access.createApiKey({ displayName: 'k', scopes: ['*'] });
    const watch = await Watch.start(server().clients(transport, { 'x-api-key': secret }), {
      heartbeat: { seconds: 1n },
    });
    await admin.access.revokeApiKey({ apiKeyId: apiKey!.id });
    expect(asFailure(await watch.ended).reason).toBe('CREDENTIALS_INVALID');
    const heard = watch.events.length;
    await admin.secrets.createSecret({ name: 's', value: 'v' });
    expect(watch.events.length).toBe(heard);
  });

  it('refuses a cursor that was altered, is of another tenant, or too old', async () => {
    const admin = await as('admin');
    const { cursor } = await admin.events.listEvents({});
    const foreign = await as('admin', { tenant: `${tenant()}-x` });
    for (const [clients, given] of [
      [foreign, cursor],
      [admin, `A${cursor.slice(1)}`],
      [admin, 'x'],
    ] as const)
      expect(asFailure(await (await Watch.start(clients, { cursor: given })).ended).reason).toBe('CURSOR_INVALID');
  });
});
