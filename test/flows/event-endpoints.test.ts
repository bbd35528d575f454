import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DeliveryStatus } from '../../gen/latchkey/v1/delivery_pb.ts';
import { EndpointDisabledReason } from '../../gen/latchkey/v1/event_endpoint_pb.ts';
import { disableFailing } from '../../src/domain/endpoints/disable-endpoint.ts';
import { SEALED_COLUMNS } from '../../src/domain/keys/sealed-columns.ts';
import { bearer } from '../harness/credentials.ts';
import { sendMessage, signedHeaders, signingSecret } from '../harness/inbound.ts';
import { operatorAt, Replicas } from '../harness/replicas.ts';
import { type Clients, TestServer } from '../harness/server.ts';
import { type ReceivedWebhook, startWebhookReceiver } from '../harness/webhook-receiver.ts';

const WITHIN = { timeout: 15_000, interval: 20 };
const CONNECTIONS = { types: ['connection.*'] };

const newConnection = async ({ connections }: Clients, name: string, other: object = {}) =>
  (await connections.createConnection({ name, credential: bearer('verysecret'), ...other })).connection!.id;

const idOf = ({ headers }: ReceivedWebhook) => headers['webhook-id'] as string;
const typeOf = ({ body }: ReceivedWebhook) => JSON.parse(body).type as string;
const about = ({ body }: ReceivedWebhook) => JSON.parse(body).data.aggregate_id as string;
const verify = (secret: string, { body, headers }: ReceivedWebhook) =>
  new Webhook(secret).verify(body, headers as Record<string, string>);

describe('An endpoint', () => {
  let server: TestServer;
  let tenants = 0;
  beforeAll(async () => {
    server = await TestServer.start();
  });
  afterAll(() => server.stop());

  const newTenant = async () => {
    const tenant = `endpoints-${++tenants}`;
    return { tenant, admin: await server.as('admin', { tenant }) };
  };

  it('is sent what happens from then on, each event signed and under its own id, and no other', async () => {
    const { admin, tenant } = await newTenant();
    await using receiver = await startWebhookReceiver();
    const before = await newConnection(admin, 'before');
    const { secret } = await admin.webhooks.createEndpoint({ url: receiver.url, eventTypes: CONNECTIONS });
    const connectionId = await newConnection(admin, 'after', { projectId: 'p1' });
    await admin.connections.disableConnection({ connectionId });
    await expect.poll(() => receiver.received.length, WITHIN).toBe(2);
    const events = await server.database.sql<{ id: string; type: string; create_time: Date; payload: object }>(
      'select * from latchkey.outbox where tenant_id = $1 and aggregate_id = $2 order by seq',
      [tenant, connectionId],
    );
    for (const { id, type, create_time, payload } of events) {
      const sent = receiver.received.find((one) => idOf(one) === id)!;
      expect(verify(secret, sent)).toEqual({
        ...{ type, timestamp: create_time.toISOString() },
        data: {
          ...{ id, aggregate_type: 'connection', aggregate_id: connectionId, generation: expect.any(Number) },
          ...{ project_id: 'p1', payload },
        },
      });
      expect(() => verify(secret, { ...sent, body: sent.body.replace(connectionId, before) })).toThrow();
      expect(() => verify(secret, { ...sent, headers: { ...sent.headers, 'webhook-id': 'evt_other' } })).toThrow();
    }
    expect(receiver.received.map(about)).not.toContain(before);
    expect(JSON.stringify(receiver.received)).not.toContain('verysecret');
  });

  it('is sent an event again until it takes it, with the same id and body, a new time and a new signature', async () => {
    const { admin } = await newTenant();
    await using receiver = await startWebhookReceiver((n) => ({ status: n === 0 ? 404 : 200 }));
    const { secret, endpoint } = await admin.webhooks.createEndpoint({ url: receiver.url, eventTypes: CONNECTIONS });
    await newConnection(admin, 'c');
    await expect.poll(() => receiver.received.length, WITHIN).toBe(1);
    const failing = async () =>
      (await admin.webhooks.getEndpoint({ endpointId: endpoint!.id })).endpoint!.failingSince !== undefined;
    await expect.poll(failing, WITHIN).toBe(true);
    await expect.poll(() => receiver.received.length, WITHIN).toBe(2);
    const [first, second] = receiver.received;
    expect([idOf(second!), second!.body]).toEqual([idOf(first!), first!.body]);
    const wait = second!.time - first!.time;
    expect(wait).toBeGreaterThan(3_900);
    expect(wait).toBeLessThan(7_500);
    expect(second!.headers['webhook-timestamp']).not.toBe(first!.headers['webhook-timestamp']);
    for (const one of [first!, second!]) verify(secret, one);
    await expect.poll(failing, WITHIN).toBe(false);
  });

  it('is sent what passes its filter and its types, of what its maker may see', async () => {
    const { admin, tenant } = await newTenant();
    const [manager, owner] = [
      await server.as('resource_manager', { tenant }),
      await server.as('requestor', { tenant, subject: 'owner' }),
    ];
    await using receiver = await startWebhookReceiver();
    const make = async ({ webhooks }: Clients, path: string, other: object = {}) =>
      webhooks.createEndpoint({ url: `${receiver.url}/${path}`, eventTypes: CONNECTIONS, ...other });
    await make(admin, 'admin');
    await make(manager, 'manager');
    await make(manager, 'project', { projectId: 'p1' });
    await make(manager, 'filtered', { filter: 'event.data.payload.name.startsWith("own")' });
    await make(admin, 'admin-filtered', { filter: 'event.data.payload.name.startsWith("own")' });
    await make(manager, 'never', { filter: 'event.data.payload.nothing == "x"' });
    const { permissions } = await keyEndpoint(admin, receiver.url);
    const ids = {
      shared: await newConnection(manager, 'shared'),
      p1: await newConnection(manager, 'p1', { projectId: 'p1' }),
      p2: await newConnection(manager, 'p2', { projectId: 'p2' }),
      owned: await newConnection(owner, 'owned'),
    };
    const seenAt = (path: string) =>
      receiver.received
        .filter(({ url }) => url === `/${path}`)
        .map((one) => Object.entries(ids).find(([, id]) => id === about(one))?.[0])
        .sort();
    await expect.poll(() => seenAt('admin'), WITHIN).toEqual(['owned', 'p1', 'p2', 'shared']);
    await expect.poll(() => seenAt('manager'), WITHIN).toEqual(['p1', 'p2', 'shared']);
    await expect.poll(() => seenAt('project'), WITHIN).toEqual(['p1', 'shared']);
    await expect.poll(() => seenAt('admin-filtered'), WITHIN).toEqual(['owned']);
    expect(permissions).toEqual(['event:read']);
    await expect.poll(() => seenAt('key'), WITHIN).toEqual(['shared']);
    for (const path of ['filtered', 'never']) expect(seenAt(path)).toEqual([]);
    const keys = receiver.received.filter((one) => typeOf(one).startsWith('api_key.'));
    expect(keys).toEqual([]);
  });

  /** Of a key that may make endpoints and see next to nothing. */
  async function keyEndpoint({ access }: Clients, url: string) {
    const { secret } = await access.createApiKey({ displayName: 'k', scopes: ['webhook:manage', 'event:read'] });
    const { webhooks } = server.clients('grpc', { authorization: `Bearer ${secret}` });
    const { endpoint } = await webhooks.createEndpoint({ url: `${url}/key` });
    const [row] = await server.database.sql<{ audience: { permissions: string[] } }>(
      'select audience from latchkey.event_endpoint where id = $1',
      [endpoint!.id],
    );
    return row!.audience;
  }

  it('signs with both secrets while one is being replaced, and both are sealed for where they are', async () => {
    const { admin, tenant } = await newTenant();
    await using receiver = await startWebhookReceiver();
    const { secret: first, endpoint } = await admin.webhooks.createEndpoint({
      ...{ url: receiver.url, eventTypes: CONNECTIONS, headers: { headers: { 'x-own': 'mine' } } },
    });
    const endpointId = endpoint!.id;
    const { secret: second, endpoint: rotated } = await admin.webhooks.rotateEndpointSecret({ endpointId });
    expect(Number(rotated!.previousSecretExpireTime!.seconds) - Date.now() / 1_000).toBeGreaterThan(86_000);
    await newConnection(admin, 'a');
    await expect.poll(() => receiver.received.length, WITHIN).toBe(1);
    for (const secret of [first, second]) verify(secret, receiver.received[0]!);
    const opened = await Promise.all(
      SEALED_COLUMNS.filter(({ table }) => table === 'event_endpoint').map(
        async ({ column, id, generation, place }) => {
          const [row] = await server.database.sql<{ value: Buffer; generation: number }>(
            `select ${column} as value, ${generation} as generation from latchkey.event_endpoint where ${id} = $1`,
            [endpointId],
          );
          const at = place(tenant, endpointId, row!.generation);
          return (await server.replica.app.keyring.open(at, row!.value)).toString();
        },
      ),
    );
    expect(opened).toEqual([second, first, '{"x-own":"mine"}']);
    const { secret: third } = await admin.webhooks.rotateEndpointSecret({ endpointId, overlapS: 0 });
    await newConnection(admin, 'b');
    await expect.poll(() => receiver.received.length, WITHIN).toBe(2);
    verify(third, receiver.received[1]!);
    for (const secret of [first, second]) expect(() => verify(secret, receiver.received[1]!)).toThrow();
    const { entries } = await admin.audit.listAuditEntries({});
    expect(entries.filter(({ action }) => action === 'event_endpoint_secret_rotated')).toHaveLength(2);
  });

  it('that answers 410 is disabled at once, says so, and gets what it missed by a replay', async () => {
    const { admin, tenant } = await newTenant();
    let gone = true;
    await using receiver = await startWebhookReceiver(() => ({ status: gone ? 410 : 200 }));
    const since = timestampFromMs(Date.now() - 1);
    const { endpoint } = await admin.webhooks.createEndpoint({ url: receiver.url, eventTypes: CONNECTIONS });
    const endpointId = endpoint!.id;
    const now = async () => (await admin.webhooks.getEndpoint({ endpointId })).endpoint!;
    const first = await newConnection(admin, 'first');
    await expect.poll(now, WITHIN).toMatchObject({ enabled: false, disabledReason: EndpointDisabledReason.GONE });
    const second = await newConnection(admin, 'second');
    const told = () =>
      server.database.sql('select type, payload from latchkey.outbox where aggregate_id = $1', [endpointId]);
    expect(await told()).toContainEqual({
      type: 'event_endpoint.disabled',
      payload: expect.objectContaining({ enabled: false, disabled_reason: 'gone' }),
    });
    await placed(tenant);
    const { deliveries } = await admin.webhooks.listEndpointDeliveries({ endpointId });
    expect(deliveries).toMatchObject([{ status: DeliveryStatus.FAILED, eventId: idOf(receiver.received[0]!) }]);
    gone = false;
    await admin.webhooks.updateEndpoint({ endpointId, enabled: true });
    const third = await newConnection(admin, 'third');
    await expect.poll(() => receiver.received.map(about), WITHIN).toEqual([first, third]);
    const replayed = await admin.webhooks.replayEvents({ endpointId, since });
    expect(replayed).toMatchObject({ count: 2, more: false });
    await expect.poll(() => receiver.received.length, WITHIN).toBe(4);
    expect(receiver.received.slice(2).map(about).sort()).toEqual([first, second].sort());
    const ids = receiver.received.filter((one) => about(one) === first).map(idOf);
    expect(new Set(ids).size).toBe(1);
    await settled(tenant);
    expect(await admin.webhooks.replayEvents({ endpointId, since })).toMatchObject({ count: 0 });
    const none = { types: ['integration.*'] };
    const all = { endpointId, since, includeDelivered: true };
    expect(await admin.webhooks.replayEvents({ ...all, eventTypes: none })).toMatchObject({ count: 0 });
    expect(await admin.webhooks.replayEvents(all)).toMatchObject({ count: 3 });
    await expect.poll(() => receiver.received.length, WITHIN).toBe(7);
  });

  it('is disabled when it has failed for days, and not before', async () => {
    const { admin, tenant } = await newTenant();
    await using receiver = await startWebhookReceiver(() => ({ status: 500 }));
    const { endpoint } = await admin.webhooks.createEndpoint({ url: receiver.url, eventTypes: CONNECTIONS });
    const endpointId = endpoint!.id;
    await newConnection(admin, 'c');
    const now = async () => (await admin.webhooks.getEndpoint({ endpointId })).endpoint!;
    await expect.poll(async () => (await now()).failingSince !== undefined, WITHIN).toBe(true);
    const since = (ms: number) =>
      server.database.sql(
        `update latchkey.event_endpoint set failing_since = failed_time - $2 * interval '1 ms' where id = $1`,
        [endpointId, ms],
      );
    const days = 5 * 86_400_000;
    await since(days - 1_000);
    await disableFailing(server.replica.app, tenant, endpointId);
    expect((await now()).enabled).toBe(true);
    await since(days);
    await disableFailing(server.replica.app, tenant, endpointId);
    expect(await now()).toMatchObject({ enabled: false, disabledReason: EndpointDisabledReason.FAILING });
    const { entries } = await admin.audit.listAuditEntries({});
    expect(entries.filter(({ action }) => action === 'event_endpoint_disabled')).toHaveLength(1);
  });

  it('is sent what third parties sent, where it asks for that', async () => {
    const { admin, tenant } = await newTenant();
    await using receiver = await startWebhookReceiver();
    const eventTypes = { types: ['inbound_message.received'] };
    await admin.webhooks.createEndpoint({ url: `${receiver.url}/plain`, eventTypes });
    await admin.webhooks.createEndpoint({ url: `${receiver.url}/whole`, eventTypes, includeInboundContent: true });
    const key = signingSecret();
    const { endpoint } = await admin.webhooks.createInboundEndpoint({
      ...{ name: 'in', signingSecrets: { secrets: [key] }, maxBodyBytes: 1_000_000 },
    });
    const send = async (id: string, body: string, type = 'application/json') => {
      const headers = { 'content-type': type, ...signedHeaders(key, id, body) };
      const answer = await sendMessage(server.replica.httpPort, endpoint!.id, headers, body);
      expect(answer.status).toBe(202);
      return ((await answer.json()) as { message_id: string }).message_id;
    };
    const [text, large] = [await send('m1', '{"a":"ü"}'), await send('m2', 'x'.repeat(300_000), 'text/plain')];
    await expect.poll(() => receiver.received.length, WITHIN).toBe(4);
    const content = (path: string, message: string) => {
      const one = receiver.received.find((received) => received.url === `/${path}` && about(received) === message)!;
      return JSON.parse(one.body).data.content;
    };
    expect(content('plain', text)).toBeUndefined();
    expect(content('whole', text)).toEqual({
      ...{ body: '{"a":"ü"}', body_encoding: 'utf8' },
      headers: expect.objectContaining({ 'content-type': 'application/json', 'webhook-id': 'm1' }),
    });
    expect(content('whole', large)).toEqual({ omitted: 'too_large' });
    await settled(tenant);
    const rows = await server.database.sql<{ row: string }>(
      'select d::text as row from latchkey.delivery d where tenant_id = $1',
      [tenant],
    );
    expect(JSON.stringify(rows)).not.toContain('ü');
  });

  /** All that has happened in a tenant was looked at. */
  const placed = (tenant: string) =>
    expect
      .poll(async () => {
        const rows = await server.database.sql(
          `select from latchkey.outbox o where o.tenant_id = $1 and (o.position is null
            or o.position > (select f.position from latchkey.event_fan_out f where f.tenant_id = $1))`,
          [tenant],
        );
        return rows.length;
      }, WITHIN)
      .toBe(0);

  const settled = (tenant: string) =>
    expect
      .poll(async () => {
        const rows = await server.database.sql(
          'select from latchkey.delivery where tenant_id = $1 and settle_time is null',
          [tenant],
        );
        return rows.length;
      }, WITHIN)
      .toBe(0);
});

describe('Replicas', () => {
  let replicas: Replicas;
  beforeAll(async () => {
    replicas = await Replicas.create();
  });
  afterAll(() => replicas.stop());

  it('make one delivery of each event, and lose none when one of them is killed in the middle', async () => {
    await using receiver = await startWebhookReceiver();
    const [first, second] = await Promise.all([replicas.start(), replicas.start()]);
    const clients = [operatorAt(first), operatorAt(second)];
    const made = await clients[1]!.webhooks.createEndpoint({ url: receiver.url, eventTypes: CONNECTIONS });
    const names = Array.from({ length: 300 }, (_, i) => `c${i}`);
    const killing = expect
      .poll(() => receiver.received.length, { timeout: 20_000, interval: 1 })
      .toBeGreaterThan(60)
      .then(() => first.stop('SIGKILL'));
    const outcomes: PromiseSettledResult<string>[] = [];
    for (let at = 0; at < names.length; at += 20)
      outcomes.push(
        ...(await Promise.allSettled(names.slice(at, at + 20).map((name, i) => newConnection(clients[i % 2]!, name)))),
      );
    await killing;
    expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThan(150);
    const events = await replicas.database.sql<{ id: string }>(
      `select id from latchkey.outbox where type = 'connection.created'`,
    );
    const ids = events.map(({ id }) => id).sort();
    const arrived = () => [...new Set(receiver.received.map(idOf))].sort();
    await expect.poll(arrived, { timeout: 40_000, interval: 100 }).toEqual(ids);
    const rows = await replicas.database.sql<{ message_id: string }>(
      `select message_id from latchkey.delivery where purpose = 'event' and signed_by = $1`,
      [made.endpoint!.id],
    );
    expect(rows.map(({ message_id }) => message_id).sort()).toEqual(ids);
    for (const one of receiver.received) verify(made.secret, one);
    await second.stop();
    // What the one that was killed had in hand waits for the ends of its leases, of 15 and 20 s.
  }, 90_000);
});
