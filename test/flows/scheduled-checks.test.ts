import type { IncomingMessage, ServerResponse } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  CheckSchedule,
  ConnectionHealth,
  ConnectionCheckStatus as Status,
} from '../../gen/latchkey/v1/connection_pb.ts';
import { runDueCheck } from '../../src/domain/checks/run-due-check.ts';
import { Housekeeper } from '../../src/jobs/housekeeper.ts';
import { bearer } from '../harness/credentials.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { failureOf } from '../harness/errors.ts';
import { type Listener, listenHttp } from '../harness/listener.ts';
import { ServerProcess } from '../harness/process.ts';
import { operatorAt } from '../harness/replicas.ts';
import { type Clients, newMasterKey, TestServer, testEnv } from '../harness/server.ts';

const IN_A_SWEEP = { timeout: 8_000 };

let database: TestDatabase;
let servers: TestServer[];
let clients: Clients;
let service: Listener;
let serve: (request: IncomingMessage, response: ServerResponse) => void;
let asked: string[];
const masterKey = newMasterKey();
const TENANT = 'scheduled';

beforeAll(async () => {
  database = await createTestDatabase();
  servers = [await TestServer.start({ database, masterKey }), await TestServer.start({ database, masterKey })];
  clients = await servers[0]!.as('admin', { tenant: TENANT });
  service = await listenHttp((request, response) => {
    asked.push(request.url ?? '');
    serve(request, response);
  });
});
afterAll(async () => {
  for (const server of servers) await server.stop();
  await service[Symbol.asyncDispose]();
  await database.drop();
});

let named = 0;
async function made(
  checkSchedule: CheckSchedule = CheckSchedule.HOURLY,
  given: { timeoutMs?: number } = {},
): Promise<string> {
  const name = `c${++named}`;
  const { connection } = await clients.connections.createConnection({
    ...{ name, credential: bearer('t'), baseUrl: `${service.url}/${name}`, checkSchedule, ...given },
    healthThresholds: { failures: 2, recoveries: 1 },
  });
  return connection!.id;
}

const makeDue = (ids: string[]) =>
  database.sql('update latchkey.connection_health set check_due = now() where connection_id = any ($1)', [ids]);
const healthOf = async (connectionId: string) =>
  (await clients.connections.getConnection({ connectionId })).connection!.health!;
const rowOf = async (connectionId: string) =>
  (
    await database.sql<{ minutes: number | null; lease_until: Date | null }>(
      `select extract(epoch from check_due - now())::float8 / 60 as minutes, lease_until from latchkey.connection_health where connection_id = $1`,
      [connectionId],
    )
  )[0]!;
const eventsOf = (connectionId: string) =>
  database.sql<{ type: string; payload: { health?: string } }>(
    `select type, payload from latchkey.outbox where aggregate_id = $1 and type <> 'connection.created' order by create_time`,
    [connectionId],
  );

describe('A scheduled check', () => {
  it('is made once when it is due, whichever of two replicas makes it, and the next is set', async () => {
    asked = [];
    serve = (_, response) => void response.end('{}');
    const ids = await Promise.all(Array.from({ length: 30 }, () => made()));
    for (const id of ids) {
      const { minutes } = await rowOf(id);
      expect(minutes).toBeGreaterThan(-0.1);
      expect(minutes).toBeLessThan(5);
    }
    await makeDue(ids);
    await expect
      .poll(async () => (await Promise.all(ids.map(healthOf))).map(({ health }) => health), IN_A_SWEEP)
      .toEqual(ids.map(() => ConnectionHealth.HEALTHY));
    expect(asked).toHaveLength(30);
    expect(new Set(asked).size).toBe(30);
    const rows = await Promise.all(ids.map(rowOf));
    for (const { minutes, lease_until } of rows) {
      expect(lease_until).toBeNull();
      expect(minutes).toBeGreaterThan(52);
      expect(minutes).toBeLessThan(67);
    }
    expect(new Set(rows.map(({ minutes }) => Math.round(minutes! * 10))).size).toBeGreaterThan(10);
    // One is told of: that it works. The others are not, or there would be one an hour for each connection.
    expect((await eventsOf(ids[0]!)).map(({ type }) => type)).toEqual(['connection.health_changed']);
    const { connection } = await clients.connections.getConnection({ connectionId: ids[0]! });
    expect(connection!.lastTestedAt).toBeDefined();
  });

  it('is claimed by one of many that want to make it', async () => {
    asked = [];
    // The answer comes when all others have ended: until then the check is under way.
    const others = Promise.withResolvers<void>();
    serve = (_, response) => void others.promise.then(() => response.end('{}'));
    const connectionId = await made();
    await makeDue([connectionId]);
    const due = { tenantId: TENANT, connectionId };
    const never = new AbortController().signal;
    let ended = 0;
    const runs = Array.from({ length: 10 }, async (_, i) => {
      await runDueCheck(servers[i % 2]!.replica.app, due, never);
      ended += 1;
      if (ended === 9) others.resolve();
    });
    await Promise.all(runs);
    await expect.poll(async () => (await healthOf(connectionId)).health, IN_A_SWEEP).toBe(ConnectionHealth.HEALTHY);
    expect(asked).toHaveLength(1);
  });

  it('changes the health at the thresholds, and tells of each change once', async () => {
    asked = [];
    const connectionId = await made();
    const due = { tenantId: TENANT, connectionId };
    const never = new AbortController().signal;
    const { app } = servers[0]!.replica;
    for (const status of [200, 401, 429, 401, 401, 200]) {
      serve = (_, response) => void response.writeHead(status).end('{}');
      const before = asked.length;
      await makeDue([connectionId]);
      await runDueCheck(app, due, never);
      await expect.poll(() => asked, IN_A_SWEEP).toHaveLength(before + 1);
      await expect.poll(async () => (await rowOf(connectionId)).minutes, IN_A_SWEEP).toBeGreaterThan(1);
    }
    const told = (await eventsOf(connectionId)).map(({ payload }) => payload.health);
    expect(told).toEqual(['HEALTHY', 'UNHEALTHY', 'HEALTHY']);
    expect(await healthOf(connectionId)).toMatchObject({ lastStatus: Status.VALID, consecutiveFailures: 0 });
  });

  it('is none of a connection that has no schedule, or none any more, and tells nothing of a disabled one', async () => {
    asked = [];
    const [off, stopped, disabled] = [await made(CheckSchedule.OFF), await made(), await made()];
    await clients.connections.updateConnection({ connectionId: stopped, checkSchedule: CheckSchedule.OFF });
    await clients.connections.disableConnection({ connectionId: disabled });
    expect((await rowOf(stopped)).minutes).toBeNull();
    await makeDue([disabled]);
    await expect.poll(async () => (await healthOf(disabled)).lastStatus, IN_A_SWEEP).toBe(Status.DISABLED);
    expect((await healthOf(disabled)).health).toBe(ConnectionHealth.UNKNOWN);
    expect((await healthOf(off)).nextCheckTime).toBeUndefined();
    expect(asked).toEqual([]);
  });

  it('says nothing of the connection where the failure is our own', async () => {
    asked = [];
    const connectionId = await made();
    // A row that does not open.
    await database.sql(`update latchkey.credential set sealed = '\\x00' where connection_id = $1`, [connectionId]);
    await makeDue([connectionId]);
    const { app } = servers[0]!.replica;
    await runDueCheck(app, { tenantId: TENANT, connectionId }, new AbortController().signal).catch(() => {});
    await expect.poll(async () => (await rowOf(connectionId)).minutes, IN_A_SWEEP).toBeGreaterThan(0.5);
    expect(await healthOf(connectionId)).toMatchObject({ health: ConnectionHealth.UNKNOWN, consecutiveFailures: 0 });
    expect((await rowOf(connectionId)).lease_until).toBeNull();
  });

  // Now and then a sweep comes first.
  it('is given back by a replica that stops', { retry: 2 }, async () => {
    asked = [];
    serve = () => {};
    const connectionId = await made(CheckSchedule.DAILY, { timeoutMs: 60_000 });
    await makeDue([connectionId]);
    const stopping = new AbortController();
    const running = runDueCheck(servers[1]!.replica.app, { tenantId: TENANT, connectionId }, stopping.signal);
    running.catch(() => {});
    await expect.poll(() => asked, IN_A_SWEEP).toHaveLength(1);
    serve = (_, response) => void response.end('{}');
    stopping.abort();
    await running.catch(() => {});
    await expect.poll(async () => (await healthOf(connectionId)).health, IN_A_SWEEP).toBe(ConnectionHealth.HEALTHY);
  });
});

describe('Checks of one tenant', () => {
  it('keep those of others waiting for no longer than a sweep, however many and slow they are', async () => {
    asked = [];
    const slow: ServerResponse[] = [];
    serve = (request, response) => void (request.url?.startsWith('/slow') ? slow.push(response) : response.end('{}'));
    const own = await TestServer.start();
    try {
      const [busy, other] = await Promise.all(['busy', 'other'].map((tenant) => own.as('admin', { tenant })));
      const make = async ({ connections }: Clients, name: string) => {
        const baseUrl = `${service.url}/${name}`;
        const given = { credential: bearer('t'), checkSchedule: CheckSchedule.HOURLY, timeoutMs: 60_000 };
        return (await connections.createConnection({ name, baseUrl, ...given })).connection!.id;
      };
      for (let i = 0; i < 120; i++) await make(busy!, `slow${i}`);
      const connectionId = await make(other!, 'quick');
      await own.database.sql(
        `update latchkey.connection_health set check_due = now() - case tenant_id when 'busy' then interval '1 hour' else interval '1 second' end`,
      );
      const health = async () => (await other!.connections.getConnection({ connectionId })).connection!.health!.health;
      await expect.poll(health, IN_A_SWEEP).toBe(ConnectionHealth.HEALTHY);
      expect(slow.length).toBeGreaterThan(0);
      expect(slow.length).toBeLessThan(50);
    } finally {
      await own.stop();
      for (const response of slow) response.destroy();
    }
  }, 30_000);
});

describe('The limit of tests a minute', () => {
  it('holds over all replicas', async () => {
    serve = (_, response) => void response.end('{}');
    const connectionId = await made(CheckSchedule.OFF);
    const { secret } = await clients.access.createApiKey({ displayName: 'busy', scopes: ['connection:use'] });
    const [here, there] = servers.map((server) => server.clients('grpc', { authorization: `Bearer ${secret}` }));
    await Promise.all(Array.from({ length: 10 }, () => here!.connections.testConnection({ connectionId })));
    expect(await failureOf(there!.connections.testConnection({ connectionId }))).toMatchObject({
      ...{ code: 'ResourceExhausted', reason: 'RATE_LIMITED' },
    });
    const windows = () =>
      database.sql(`select caller from latchkey.rate_window where tenant_id = $1 and cardinality(times) = 10`, [
        TENANT,
      ]);
    const housekeeper = new Housekeeper(servers[0]!.replica.app);
    await housekeeper.clean();
    expect(await windows()).toHaveLength(1);
    await database.sql(
      `update latchkey.rate_window set times = array(select t - interval '61 minutes' from unnest(times) t) where cardinality(times) = 10`,
    );
    await housekeeper.clean();
    expect(await windows()).toHaveLength(0);
    await there!.connections.testConnection({ connectionId });
  });
});

describe('A replica that is killed in the middle of a check', () => {
  it('leaves it to another, once its claim has ended', async () => {
    asked = [];
    const held: ServerResponse[] = [];
    serve = (_, response) => void held.push(response);
    const own = await createTestDatabase();
    try {
      const env = testEnv(own, newMasterKey());
      const first = await ServerProcess.ready(env);
      const { connections } = operatorAt(first);
      const { connection } = await connections.createConnection({
        ...{ name: 'c', credential: bearer('t'), baseUrl: service.url, timeoutMs: 1_000 },
        checkSchedule: CheckSchedule.HOURLY,
      });
      const id = connection!.id;
      await own.sql('update latchkey.connection_health set check_due = now()');
      await expect.poll(() => asked, IN_A_SWEEP).toHaveLength(1);
      await first.stop('SIGKILL');
      serve = (_, response) => void response.end('{}');
      const second = await ServerProcess.ready(env);
      try {
        const health = async () =>
          (await operatorAt(second).connections.getConnection({ connectionId: id })).connection!.health!;
        await expect.poll(async () => (await health()).health, { timeout: 20_000 }).toBe(ConnectionHealth.HEALTHY);
        expect(asked).toHaveLength(2);
      } finally {
        await second.stop('SIGKILL');
      }
    } finally {
      for (const response of held) response.destroy();
      await own.drop();
    }
  }, 60_000);
});
