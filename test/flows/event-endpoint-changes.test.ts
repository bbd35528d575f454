import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { Client } from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { DeliveryStatus } from '../../gen/latchkey/v1/delivery_pb.ts';
import { newId } from '../../src/base/id.ts';
import { fanOutEvents } from '../../src/domain/endpoints/fan-out-events.ts';
import { bearer } from '../harness/credentials.ts';
import { startReceiver } from '../harness/receiver.ts';
import { type Clients, TestServer } from '../harness/server.ts';
import { type ReceivedWebhook, startWebhookReceiver } from '../harness/webhook-receiver.ts';

const WITHIN = { timeout: 15_000, interval: 20 };
const CONNECTIONS = { types: ['connection.*'] };

let server: TestServer;
let tenants = 0;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.stop());

const newTenant = async () => {
  const tenant = `endpoint-changes-${++tenants}`;
  return { tenant, admin: await server.as('admin', { tenant }) };
};

const newConnection = async ({ connections }: Clients, name: string) =>
  (await connections.createConnection({ name, credential: bearer('t') })).connection!.id;

const idOf = ({ headers }: ReceivedWebhook) => headers['webhook-id'] as string;

/** Has what waits for an endpoint tried now. */
const hurry = (endpointId: string) =>
  server.database.sql(
    `update latchkey.delivery set due_time = now() where signed_by = $1 and settle_time is null and status = 'PENDING'`,
    [endpointId],
  );

it('is told of an event that comes just after it, whatever had been read for others by then', async () => {
  const { admin, tenant } = await newTenant();
  const { webhooks } = admin;
  const { endpoint } = await webhooks.createEndpoint({ url: 'http://localhost:9/', eventTypes: CONNECTIONS });
  const [epoch, late] = [1_000, newId('eep')];
  await server.database.sql(
    `update latchkey.event_fan_out set lease_epoch = $2, lease_until = now() + interval '1 hour' where tenant_id = $1`,
    [tenant, epoch],
  );
  const other = new Client({ connectionString: server.database.migrationUrl });
  await other.connect();
  try {
    await other.query('begin; lock table latchkey.outbox in access exclusive mode');
    const passing = fanOutEvents(server.replica.app, tenant, epoch);
    // Looked for by another connection: within a transaction what is seen of the others stays.
    const reading = () =>
      server.database.sql(
        `select from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'read_events|latchkey.outbox where tenant_id'`,
      );
    await expect.poll(async () => (await reading()).length, WITHIN).toBeGreaterThan(0);
    // An endpoint, and after it an event, that are there when the reading goes on.
    await other.query(
      'insert into latchkey.event_endpoint select (jsonb_populate_record(e, $2)).* from latchkey.event_endpoint e where id = $1',
      [endpoint!.id, { id: late }],
    );
    const eventId = newId('evt');
    await other.query(
      `insert into latchkey.outbox (tenant_id, id, type, aggregate_type, aggregate_id, generation, payload, create_time, position)
        values ($1, $2, 'connection.created', 'connection', 'conn_x', 1, '{}', now(), nextval('latchkey.outbox_position'))`,
      [tenant, eventId],
    );
    await other.query('commit');
    await passing;
    const told = await other.query(`select signed_by from latchkey.delivery where message_id = $1 order by 1`, [
      eventId,
    ]);
    expect(told.rows.map(({ signed_by }) => signed_by)).toEqual([endpoint!.id, late].sort());
  } finally {
    await other.end();
  }
});

it('that said it is gone at a place which it has left is not disabled, and told at the new one', async () => {
  const { admin } = await newTenant();
  const { webhooks } = admin;
  const answers: (() => void)[] = [];
  await using before = await startReceiver((_, response) => {
    answers.push(() => response.writeHead(410).end());
  });
  await using after = await startWebhookReceiver();
  const { endpoint } = await webhooks.createEndpoint({ url: before.url, eventTypes: CONNECTIONS });
  const endpointId = endpoint!.id;
  await newConnection(admin, 'c');
  await expect.poll(() => answers.length, WITHIN).toBe(1);
  await webhooks.updateEndpoint({ endpointId, url: after.url });
  answers[0]!();
  await expect.poll(() => after.received.length, WITHIN).toBe(1);
  expect((await webhooks.getEndpoint({ endpointId })).endpoint).toMatchObject({ enabled: true });
  const delivered = async () => (await webhooks.listEndpointDeliveries({ endpointId })).deliveries;
  await expect.poll(delivered, WITHIN).toMatchObject([{ status: DeliveryStatus.SUCCEEDED }]);
});

it('is sent what waits at its new place, where what the old one did is forgotten', async () => {
  const { admin } = await newTenant();
  const { webhooks } = admin;
  await using before = await startWebhookReceiver(() => ({ status: 500 }));
  await using after = await startWebhookReceiver();
  const { endpoint } = await webhooks.createEndpoint({ url: before.url, eventTypes: CONNECTIONS });
  const endpointId = endpoint!.id;
  await newConnection(admin, 'c');
  const failing = async () => (await webhooks.getEndpoint({ endpointId })).endpoint!.failingSince !== undefined;
  await expect.poll(failing, WITHIN).toBe(true);
  await webhooks.updateEndpoint({ endpointId, url: after.url });
  expect(await failing()).toBe(false);
  await hurry(endpointId);
  await expect.poll(() => after.received.length, WITHIN).toBe(1);
  expect(idOf(after.received[0]!)).toBe(idOf(before.received[0]!));
});

it('that is deleted is sent nothing of what waited, and that which is told meanwhile is told to the others', async () => {
  const { admin, tenant } = await newTenant();
  const { webhooks } = admin;
  await using failing = await startWebhookReceiver(() => ({ status: 500 }));
  await using well = await startWebhookReceiver();
  const { endpoint } = await webhooks.createEndpoint({ url: failing.url, eventTypes: CONNECTIONS });
  await webhooks.createEndpoint({ url: well.url, eventTypes: CONNECTIONS });
  await newConnection(admin, 'c');
  await expect.poll(() => [failing.received.length, well.received.length], WITHIN).toEqual([1, 1]);
  await webhooks.deleteEndpoint({ endpointId: endpoint!.id });
  const statuses = () =>
    server.database.sql('select status, error from latchkey.delivery where tenant_id = $1 and signed_by = $2', [
      ...[tenant, endpoint!.id],
    ]);
  await expect
    .poll(async () => {
      await hurry(endpoint!.id);
      return statuses();
    }, WITHIN)
    .toEqual([{ status: 'FAILED', error: 'EVENT_ENDPOINT_NOT_FOUND' }]);
  await newConnection(admin, 'd');
  await expect.poll(() => well.received.length, WITHIN).toBe(2);
  expect(failing.received).toHaveLength(1);
});

it('that never answers delays no other, of its own tenant or another', async () => {
  const [one, two] = [await newTenant(), await newTenant()];
  await using dead = await startWebhookReceiver(() => null);
  await using well = await startWebhookReceiver();
  for (let i = 0; i < 5; i++) await one.admin.webhooks.createEndpoint({ url: dead.url, eventTypes: CONNECTIONS });
  for (const { admin } of [one, two]) await admin.webhooks.createEndpoint({ url: well.url, eventTypes: CONNECTIONS });
  for (let i = 0; i < 20; i++) await newConnection(one.admin, `c${i}`);
  await expect.poll(() => dead.received.length, WITHIN).toBeGreaterThanOrEqual(5);
  const [before, start] = [well.received.length, performance.now()];
  for (const { admin } of [one, two]) await newConnection(admin, 'now');
  await expect.poll(() => well.received.length, { ...WITHIN, interval: 5 }).toBe(22);
  expect(before).toBeLessThanOrEqual(20);
  // A dead one is waited for 15 s.
  expect(performance.now() - start).toBeLessThan(8_000);
}, 60_000);

it('has events sent again by many at once, each once, while others happen', async () => {
  const { admin, tenant } = await newTenant();
  await using receiver = await startWebhookReceiver();
  const since = timestampFromMs(Date.now() - 1);
  const make = (from: number, to: number) =>
    Promise.all(
      Array.from({ length: 5 }, async (_, lane) => {
        for (let i = from + lane; i < to; i += 5) await newConnection(admin, `c${i}`);
      }),
    );
  await make(0, 100);
  const { endpoint } = await admin.webhooks.createEndpoint({ url: receiver.url, eventTypes: CONNECTIONS });
  const endpointId = endpoint!.id;
  const replay = () => admin.webhooks.replayEvents({ endpointId, since });
  const replays = Promise.all(Array.from({ length: 4 }, replay));
  await make(100, 150);
  const counts = (await replays).map(({ count }) => count);
  expect(counts.reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(100);
  const arrived = () => new Set(receiver.received.map(idOf)).size;
  await expect.poll(arrived, WITHIN).toBe(150);
  const [row] = await server.database.sql<{ count: string; events: string }>(
    'select count(*), count(distinct message_id) as events from latchkey.delivery where tenant_id = $1',
    [tenant],
  );
  expect(row).toEqual({ count: '150', events: '150' });
  expect(receiver.received).toHaveLength(150);
}, 60_000);
