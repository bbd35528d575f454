import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { asFailure } from '../harness/errors.ts';
import { GraceProvider } from '../harness/grace-provider.ts';
import { type Imported, NO_SWEEPS, REAL, Refreshing, type ReplicaProcess, tokenOf } from '../harness/refreshing.ts';

/** OUTAGE_MINUTES=10 is what a provider may well be away for. */
const OUTAGE_MS = Number(process.env.OUTAGE_MINUTES ?? 1) * 60_000;
const CONNECTIONS = 200;
/** Calls of two replicas that are under way when the first of them fail: a quarter of REFRESH_MAX_IN_FLIGHT each. */
const UNDER_WAY = 2 * 64;
/** The shortest pause of an open circuit; each ends in one call that tries it. */
const PAUSE_MS = 10_000;
/** The longest such pause, and a sweep. */
const RECOVERED_MS = 60_000 + 2 * REAL.sweep;

let world: Refreshing;
let replicas: ReplicaProcess[];
let imported: Imported[];

beforeAll(async () => {
  world = await Refreshing.start(await GraceProvider.start({ graceMs: 0 }), REAL);
  imported = await world.import(await world.replica(NO_SWEEPS), CONNECTIONS);
  replicas = [await world.replica(), await world.replica()];
});
afterAll(() => world.stop());

it(`A provider that is away for ${OUTAGE_MS / 60_000} minutes costs no connection, is left alone, and is used again when it is back`, async () => {
  world.provider.down = true;
  await world.database.sql(
    `update latchkey.credential set refresh_due = now(), expire_time = now() + interval '1 minute' * random()`,
  );
  await world.database.sql('update latchkey.connection set last_used_at = now()');
  const until = performance.now() + OUTAGE_MS;
  while (performance.now() < until) {
    // People keep on asking for what they cannot have.
    const asked = imported.slice(0, 20).map(({ connectionId }, i) => tokenOf(replicas[i % 2]!, connectionId));
    for (const { status, reason } of await Promise.allSettled(asked).then((all) => all.map(outcomeOf)))
      expect(status === 'fulfilled' || reason === 'PROVIDER_UNAVAILABLE').toBe(true);
    await pause(1_000);
  }
  const states = await world.database.sql('select distinct status from latchkey.connection');
  expect(states).toEqual([{ status: 'ACTIVE' }]);
  expect(world.provider.refused).toBeLessThanOrEqual(UNDER_WAY + Math.ceil(OUTAGE_MS / PAUSE_MS));
  process.stdout.write(`  ${world.provider.refused} calls while it was away\n`);
  world.provider.down = false;
  const back = performance.now();
  const renewed = async () => {
    const [row] = await world.database.sql<{ n: number }>(
      'select count(*)::int as n from latchkey.credential where refresh_time is not null',
    );
    return row!.n;
  };
  await expect.poll(renewed, { timeout: 4 * RECOVERED_MS, interval: 250 }).toBeGreaterThan(0);
  expect(performance.now() - back).toBeLessThanOrEqual(RECOVERED_MS);
  for (const { connectionId, family } of imported) {
    await expect
      .poll(() => tokenOf(replicas[0]!, connectionId).catch(() => null), { timeout: 360_000, interval: 250 })
      .not.toBeNull();
    expect(world.provider.hitsOf(family)).toHaveLength(1);
  }
  expect(world.provider.lost).toEqual([]);
});

function outcomeOf(result: PromiseSettledResult<string>): { status: string; reason: string } {
  return { status: result.status, reason: result.status === 'rejected' ? asFailure(result.reason).reason : '' };
}
