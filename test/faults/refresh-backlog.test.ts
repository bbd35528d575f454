import { afterAll, beforeAll, expect, it } from 'vitest';
import { setUp } from '../harness/authorizations.ts';
import { secret } from '../harness/credentials.ts';
import { GraceProvider } from '../harness/grace-provider.ts';
import { type Imported, NO_SWEEPS, REAL, Refreshing, type ReplicaProcess, tokenOf } from '../harness/refreshing.ts';

const CONNECTIONS = 10_000;
const AT_ONCE = 40;

let world: Refreshing;
let other: GraceProvider;

beforeAll(async () => {
  world = await Refreshing.start(await GraceProvider.start({ graceMs: 0 }), REAL);
  other = await GraceProvider.start({ graceMs: 0 });
});
afterAll(async () => {
  await other.stop();
  await world.stop();
});

/** A connection at the other provider, with an access token that has expired. */
async function importOther({ clients }: ReplicaProcess, integrationId: string, name: string): Promise<string> {
  const { accessToken, refreshToken } = other.grant().first;
  const value = {
    ...{ accessToken: secret(accessToken), refreshToken: secret(refreshToken) },
    expireTime: { seconds: 1n, nanos: 0 },
  };
  const credential = { kind: { case: 'oauth2' as const, value } };
  const { connection } = await clients.connections.createConnection({ name, integrationId, credential });
  return connection!.id;
}

it(`${CONNECTIONS} tokens that are due in one minute are renewed once each, not all at once, and keep another provider's callers from nothing`, async () => {
  const quiet = await world.replica(NO_SWEEPS);
  const all: Imported[] = [];
  while (all.length < CONNECTIONS) all.push(...(await world.import(quiet, 200)));
  const otherIntegration = await setUp(quiet.clients, other.definition('other'));
  const others = await Promise.all(
    Array.from({ length: 400 }, (_, i) => importOther(quiet, otherIntegration, `other-${i}`)),
  );
  world.provider.delayMs = 50;
  const replicas = [await world.replica(), await world.replica()];
  await world.database.sql(
    `update latchkey.credential k set refresh_due = now() + random() * interval '1 minute' from latchkey.connection c
      where c.tenant_id = k.tenant_id and c.id = k.connection_id and c.provider = 'graceful'`,
  );
  await world.database.sql(`update latchkey.connection set last_used_at = now() where provider = 'graceful'`);
  const renewed = async () => {
    const rows = await world.database.sql<{ n: number }>(
      `select count(*)::int as n from latchkey.credential k join latchkey.connection c on c.tenant_id = k.tenant_id and c.id = k.connection_id
        where c.provider = 'graceful' and k.refresh_time is not null`,
    );
    return rows[0]!.n;
  };
  while (others.length > 0) {
    const some = others.splice(0, AT_ONCE);
    const tokens = await Promise.all(some.map((id, i) => tokenOf(replicas[i % 2]!, id)));
    for (const token of tokens) expect(other.goesOn(token)).toBe(true);
  }
  expect(await renewed()).toBeLessThan(CONNECTIONS);
  await expect.poll(renewed, { timeout: 180_000, interval: 500 }).toBe(CONNECTIONS);
  expect(world.provider.hits).toHaveLength(CONNECTIONS);
  expect(world.provider.lost).toEqual([]);
  expect(other.hits).toHaveLength(400);
  // A quarter of REFRESH_MAX_IN_FLIGHT for one client, on each of two replicas.
  expect(world.provider.busiest).toBeLessThanOrEqual((2 * 256) / 4);
  // The next time they are due over a tenth of their life, whenever they were renewed.
  const [spread] = await world.database.sql<{ most: number; slots: number }>(
    `select max(n)::int as most, count(*)::int as slots from (
       select count(*) as n from latchkey.credential k where extract(epoch from k.refresh_due - k.refresh_time) < 3600
        group by floor(extract(epoch from k.refresh_due - k.refresh_time) / 36)) slot`,
  );
  expect(spread!.slots).toBeGreaterThanOrEqual(10);
  expect(spread!.most).toBeLessThan(CONNECTIONS / 5);
});
