import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { bearer } from '../harness/credentials.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { asFailure, failureOf } from '../harness/errors.ts';
import { type Outcome, paced, takenBy } from '../harness/paced.ts';
import { ServerProcess } from '../harness/process.ts';
import { ADMIN_KEY, type Clients, clientsOf, newMasterKey, testEnv, transportTo } from '../harness/server.ts';
import { TcpProxy } from '../harness/tcp-proxy.ts';

const REPLICAS = 3;
const RATE = { perSecond: 100, burst: 100 };
/** The same, when all there was is used: of what comes not much can wait. */
const DRAINED = { perSecond: RATE.perSecond, burst: 10 };
/** Three times what may be. */
const OFFERED = 3 * RATE.perSecond;
const WINDOW_MS = 6_000;

let database: TestDatabase;
let proxy: TcpProxy;
let replicas: ServerProcess[];
let tenants = 0;

/** Three replicas on one database, by a way that can be cut. */
beforeAll(async () => {
  database = await createTestDatabase();
  const { hostname, port } = new URL(database.url);
  proxy = await TcpProxy.to(hostname, Number(port));
  const urls = { url: proxy.through(database.url), migrationUrl: proxy.through(database.migrationUrl) };
  const env = testEnv(urls, newMasterKey(), { LOG_LEVEL: 'info' });
  replicas = await Promise.all(Array.from({ length: REPLICAS }, () => ServerProcess.ready(env)));
  for (const replica of replicas)
    await vi.waitFor(async () => expect(await metric(replica, 'latchkey_replicas')).toBe(REPLICAS), 15_000);
});
afterAll(async () => {
  proxy.mend();
  await Promise.all(replicas.map((replica) => replica.stop('SIGKILL')));
  await proxy.stop();
  await database.drop();
});

async function metric({ httpPort }: ServerProcess, name: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

const to = (replica: ServerProcess, key = ADMIN_KEY) =>
  clientsOf(transportTo('grpc', replica, { authorization: `Bearer ${key}` }));
const operator = () => to(replicas[0]!).access;

/** Clients of a new tenant with these limits, one a replica; each remembers the caller by now. */
async function tenantWith(
  limits: { calls?: typeof RATE; callsOfEach?: typeof RATE; maxConnections?: number },
  rateLimit?: typeof RATE,
) {
  const tenantId = `limited-${++tenants}`;
  await operator().createTenant({ tenantId, limits });
  const key = async () => {
    const { secret } = await operator().createApiKey({
      ...{ displayName: 'k', scopes: ['*'], tenantId },
      ...(rateLimit && { rateLimit }),
    });
    const clients = replicas.map((replica) => to(replica, secret));
    if (!rateLimit) for (const { access } of clients) await access.listRoles({});
    return clients;
  };
  return { tenantId, key, clients: await key() };
}

/** Calls that are answered from memory. */
const callsOf = (clients: readonly Clients[]) => (n: number) => clients[n % clients.length]!.access.listRoles({});

/** That as much was answered as one bucket has for these calls. */
function expectWithin(rate: typeof RATE, outcome: Outcome, part = 0.05): void {
  const { least, most } = takenBy(rate, outcome);
  expect(outcome.answered).toBeGreaterThanOrEqual(least * (1 - part));
  expect(outcome.answered).toBeLessThanOrEqual(most * (1 + part));
}

describe('Three replicas', () => {
  it('take together what a tenant may call, within 5 %', async () => {
    const { clients } = await tenantWith({ calls: RATE });
    const outcome = await paced(callsOf(clients), OFFERED, WINDOW_MS);
    expectWithin(RATE, outcome);
    expect(Object.keys(outcome.refused)).toEqual(['RATE_LIMITED']);
  });

  it('do so where all calls come to one of them', async () => {
    const { clients } = await tenantWith({ calls: RATE });
    const outcome = await paced(callsOf(clients.slice(0, 1)), OFFERED, WINDOW_MS);
    expectWithin(RATE, outcome);
  });

  it('hold each key to its own rate, whatever others of the tenant do', async () => {
    const few = { perSecond: 40, burst: 20 };
    const { key, clients: eager } = await tenantWith({ calls: { perSecond: 1_000, burst: 1_000 }, callsOfEach: few });
    const modest = await key();
    const [first, second] = await Promise.all([
      paced(callsOf(eager), 120, WINDOW_MS),
      paced(callsOf(modest), 20, WINDOW_MS),
    ]);
    expectWithin(few, first, 0.1);
    expect(second.refused).toEqual({});
  });

  it('say when to come back, and keep their word', async () => {
    const { clients } = await tenantWith({}, { perSecond: 2, burst: 2 });
    const { access } = clients[0]!;
    const outcome = () =>
      access.listRoles({}).then(
        () => null,
        (error: unknown) => asFailure(error),
      );
    await expect.poll(outcome, { interval: 1 }).toMatchObject({
      ...{ reason: 'RATE_LIMITED', code: 'ResourceExhausted' },
      metadata: { limit: 'caller', calls: '2', window_s: '1' },
    });
    let waits = 0;
    for (let failure = await outcome(); failure; failure = await outcome()) {
      expect(failure.retryAfterMs).toBeGreaterThan(0);
      waits += 1;
      await pause(failure.retryAfterMs!);
    }
    // Once; a second time where it had taken more than there was, before it had settled.
    expect(waits).toBeGreaterThan(0);
    expect(waits).toBeLessThanOrEqual(2);
  });

  it('go by limits that change, at once', async () => {
    const { tenantId, clients } = await tenantWith({});
    const calls = callsOf(clients);
    expect((await paced(calls, 100, 500)).refused).toEqual({});
    await operator().updateTenant({ tenantId, limits: { calls: { perSecond: 1, burst: 1 } } });
    for (const { access } of clients)
      await expect
        .poll(
          () =>
            access.listRoles({}).then(
              () => '',
              (error) => error.rawMessage,
            ),
          { timeout: 5_000, interval: 20 },
        )
        .toContain('too many calls');
    await operator().updateTenant({ tenantId, limits: {} });
    await expect.poll(async () => (await paced(calls, 100, 200)).refused, { timeout: 5_000 }).toEqual({});
  });

  it('make exactly as many connections as a tenant may have, of many at once', async () => {
    const { tenantId, clients } = await tenantWith({ maxConnections: 50 });
    const create = (n: number) =>
      clients[n % 2]!.connections.createConnection({ name: `c${n}`, credential: bearer('t') });
    const outcomes = await Promise.allSettled(Array.from({ length: 200 }, (_, n) => create(n)));
    const made = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value.connection!.id] : []));
    expect(made).toHaveLength(50);
    const failure = await failureOf(create(200));
    expect(failure).toMatchObject({ reason: 'CONNECTION_LIMIT_REACHED', metadata: { limit: '50' } });
    expect(failure.retryAfterMs).toBeNull();
    await clients[1]!.connections.deleteConnection({ connectionId: made[0]! });
    await create(201);
    expect((await failureOf(create(202))).reason).toBe('CONNECTION_LIMIT_REACHED');
    await operator().updateTenant({ tenantId, limits: { maxConnections: 51 } });
    await create(203);
    const [row] = await database.sql<{ connections: string; rows: string }>(
      `select connections, (select count(*) from latchkey.connection c where c.tenant_id = n.tenant_id) as rows
         from latchkey.connection_count n where tenant_id = $1`,
      [tenantId],
    );
    expect(row).toEqual({ connections: '51', rows: '51' });
  });

  it('stay within the rate while the database is away, each by its part', async () => {
    const { clients } = await tenantWith({ calls: RATE });
    await paced(callsOf(clients), OFFERED, 2_000);
    proxy.cut();
    const outcome = await paced(callsOf(clients), OFFERED, 4_000);
    proxy.mend();
    expectWithin(DRAINED, outcome, 0.25);
    for (const { access } of clients)
      await expect
        .poll(
          () =>
            access.listRoles({}).then(
              () => true,
              () => false,
            ),
          { timeout: 15_000 },
        )
        .toBe(true);
  });

  it('take over the part of one that is killed within seconds', async () => {
    const { clients } = await tenantWith({ calls: RATE });
    await paced(callsOf(clients), OFFERED, 2_000);
    await replicas[2]!.stop('SIGKILL');
    const left = clients.slice(0, 2);
    await paced(callsOf(left), OFFERED, 3_000);
    const outcome = await paced(callsOf(left), OFFERED, WINDOW_MS);
    expectWithin(DRAINED, outcome, 0.25);
  });
});
