import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { FAILPOINTS, type Failpoint } from '../../src/domain/tokens/failpoints.ts';
import { asFailure } from '../harness/errors.ts';
import { GraceProvider } from '../harness/grace-provider.ts';
import {
  auditOf,
  eventsOf,
  frozen,
  type Imported,
  NO_SWEEPS,
  type Numbers,
  REAL,
  Refreshing,
  type ReplicaProcess,
  SCALED,
  tokenOf,
} from '../harness/refreshing.ts';

/** A failpoint sees `RUNS` kills of a replica that refreshes `EACH` connections at once. */
const RUNS = Number(process.env.CRASH_RUNS ?? 3);
const EACH = 10;
/** Connections that are refreshed when both kills come. */
const AT_ONCE = 50;
const SLACK_MS = 2_000;

/** Where the provider has used the refresh token up and nobody has stored what came of it. */
const LOSING: readonly Failpoint[] = ['sent', 'answered', 'before_commit'];
const AFTER_COMMIT: readonly Failpoint[] = ['committed', 'published'];

const boundMs = ({ call, lease, sweep }: Numbers, kills: number) => kills * (lease + sweep) + call + SLACK_MS;

/** Has a replica refresh connections, and waits until its failpoint has killed it. Nobody gets an answer that the database does not know. */
async function killed(victim: ReplicaProcess, connections: Imported[]): Promise<number> {
  const asked = connections.map(({ connectionId }) => tokenOf(victim, connectionId).catch(() => null));
  expect((await victim.process.exited).signal).toBe('SIGKILL');
  const at = performance.now();
  await Promise.all(asked);
  return at;
}

/** Every connection is usable by way of another replica, and its grant lives. Answers how long after `since` the last one was. */
async function usable(world: Refreshing, by: ReplicaProcess, connections: Imported[], since: number): Promise<number> {
  const took = connections.map(async ({ connectionId, family }) => {
    const token = await tokenOf(by, connectionId);
    const ms = performance.now() - since;
    expect(world.provider.familyOf(token)).toBe(family);
    expect(world.provider.goesOn(token)).toBe(true);
    return ms;
  });
  return Math.max(...(await Promise.all(took)));
}

function report(what: string, values: number[]): void {
  const [most, mean] = [Math.max(...values), values.reduce((sum, value) => sum + value, 0) / values.length];
  process.stdout.write(`  ${what}: usable after ${Math.round(mean)} ms (mean), ${Math.round(most)} ms (most)\n`);
}

describe('A grace that is long enough', () => {
  let world: Refreshing;
  let survivor: ReplicaProcess;
  beforeAll(async () => {
    world = await Refreshing.start(await GraceProvider.start({ graceMs: 6_000, again: 'new_pair' }), SCALED);
    survivor = await world.replica();
  });
  // One that a failed test left frozen would keep all others waiting.
  afterEach(() => survivor.process.signal('SIGCONT'));
  afterAll(() => world.stop());

  it.each(FAILPOINTS)('loses nothing to a kill at `%s`, and asks the provider once more at most', async (step) => {
    const hits = async (count: number) => {
      const victim = await world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: `${step}:kill` });
      const connections = await world.import(survivor, count);
      const at = await killed(victim, connections);
      const ms = await usable(world, survivor, connections, at);
      expect(ms).toBeLessThanOrEqual(boundMs(SCALED, 1));
      return { ms, counts: connections.map(({ family }) => world.provider.hitsOf(family).length) };
    };
    const one = await hits(1);
    expect(one.counts).toEqual([LOSING.includes(step) ? 2 : 1]);
    const took = [one.ms];
    for (let run = 0; run < RUNS; run++) {
      const { ms, counts } = await hits(EACH);
      took.push(ms);
      for (const count of counts) expect([1, 2]).toContain(count);
    }
    expect(world.provider.lost).toEqual([]);
    report(step, took);
  });

  it('loses nothing to two kills in a row', async () => {
    const quiet = await world.replica(NO_SWEEPS);
    survivor.process.signal('SIGSTOP');
    const took: number[] = [];
    const steps: [Failpoint, Failpoint][] = [
      ...LOSING.map((step): [Failpoint, Failpoint] => [step, step]),
      ...LOSING.map((step): [Failpoint, Failpoint] => [step, 'claimed']),
      ['claimed', 'before_commit'],
      ['before_send', 'sent'],
    ];
    for (const both of steps) {
      const victims = await Promise.all(
        both.map((step) => world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: `${step}:kill` })),
      );
      const connections = await world.import(quiet, 1);
      const at = await killed(victims[0]!, connections);
      await killed(victims[1]!, connections);
      took.push(await usable(world, quiet, connections, at));
      const sent = both.filter((step) => LOSING.includes(step)).length;
      expect(world.provider.hitsOf(connections[0]!.family)).toHaveLength(sent + 1);
    }
    expect(Math.max(...took)).toBeLessThanOrEqual(boundMs(SCALED, 2));
    survivor.process.signal('SIGCONT');
    expect(world.provider.lost).toEqual([]);
    report('two kills', took);
  });

  it(`loses none of ${AT_ONCE} connections to two kills in a row while the provider is at all of them`, async () => {
    const [first, second, quiet] = (await Promise.all([1, 2, 3].map(() => world.replica(NO_SWEEPS)))) as [
      ReplicaProcess,
      ReplicaProcess,
      ReplicaProcess,
    ];
    survivor.process.signal('SIGSTOP');
    const connections = await world.import(quiet, AT_ONCE);
    const killAmid = async (victim: ReplicaProcess) => {
      const held = connections.map(({ family }) => world.provider.next(family, { hold: 'after' }));
      const asked = connections.map(({ connectionId }) => tokenOf(victim, connectionId).catch(() => null));
      await Promise.all(held.map(({ arrived }) => arrived));
      await victim.process.stop('SIGKILL');
      for (const { release } of held) release();
      await Promise.all(asked);
      return performance.now();
    };
    const at = await killAmid(first);
    await killAmid(second);
    const ms = await usable(world, quiet, connections, at);
    survivor.process.signal('SIGCONT');
    expect(ms).toBeLessThanOrEqual(boundMs(SCALED, 2));
    for (const { family } of connections) expect(world.provider.hitsOf(family)).toHaveLength(3);
    expect(world.provider.lost).toEqual([]);
    report(`two kills amid ${AT_ONCE}`, [ms]);
  });

  it('loses nothing to a kill while the provider is at it', async () => {
    const victim = await world.replica(NO_SWEEPS);
    const [imported] = await world.import(survivor, 1);
    const { connectionId, family } = imported!;
    const held = world.provider.next(family, { hold: 'after' });
    const asked = tokenOf(victim, connectionId).catch(() => null);
    await held.arrived;
    await victim.process.stop('SIGKILL');
    held.release();
    expect(await asked).toBeNull();
    await usable(world, survivor, [imported!], performance.now());
    expect(world.provider.hitsOf(family)).toHaveLength(2);
  });

  it('sends the same token once more inside the lease when the connection breaks', async () => {
    const connections = await world.import(survivor, 2);
    world.provider.next(connections[0]!.family, { drop: 'before' });
    world.provider.next(connections[1]!.family, { drop: 'after' });
    await usable(world, survivor, connections, performance.now());
    for (const { family } of connections) {
      const hits = world.provider.hitsOf(family);
      expect(hits).toHaveLength(2);
      expect(new Set(hits.map(({ token }) => token)).size).toBe(1);
    }
  });

  it('stores what the sweeper of another replica obtains, when nobody asks', async () => {
    const victim = await world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: 'answered:kill' });
    const connections = await world.import(survivor, 1);
    const [{ connectionId, family }] = connections as [Imported];
    const at = await killed(victim, connections);
    const generation = async () => {
      const rows = await world.database.sql<{ generation: number }>(
        'select generation from latchkey.credential where connection_id = $1',
        [connectionId],
      );
      return rows[0]!.generation;
    };
    await expect.poll(generation, { timeout: boundMs(SCALED, 1) }).toBe(2);
    expect(performance.now() - at).toBeLessThanOrEqual(boundMs(SCALED, 1));
    expect(world.provider.hitsOf(family)).toHaveLength(2);
    await usable(world, survivor, connections, at);
    expect(world.provider.hitsOf(family)).toHaveLength(2);
  });
});

describe('A provider without grace', () => {
  let world: Refreshing;
  let survivor: ReplicaProcess;
  beforeAll(async () => {
    world = await Refreshing.start(await GraceProvider.start({ graceMs: 0 }), SCALED);
    survivor = await world.replica();
  });
  // One that a failed test left frozen would keep all others waiting.
  afterEach(() => survivor.process.signal('SIGCONT'));
  afterAll(() => world.stop());

  const kill = async (step: Failpoint, count: number) => {
    const victim = await world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: `${step}:kill` });
    const connections = await world.import(survivor, count);
    return { connections, at: await killed(victim, connections) };
  };

  it.each(LOSING)('has a loss by a kill at `%s` reported, by the sweeper alone and once', async (step) => {
    for (let run = 0; run < RUNS; run++) {
      const { connections, at } = await kill(step, 1);
      const [{ connectionId, family }] = connections as [Imported];
      await reported(world, connectionId, at, SCALED);
      expect(world.provider.hitsOf(family)).toHaveLength(2);
      for (let i = 0; i < 20; i++)
        expect(await refusalOf(survivor, connectionId)).toMatchObject({ reason: 'REAUTHORIZATION_REQUIRED' });
      expect(world.provider.hitsOf(family)).toHaveLength(2);
    }
  });

  it('is asked no more for grants that are lost, whatever the sweeper does', async () => {
    const { connections, at } = await kill('answered', 1);
    const [{ connectionId }] = connections as [Imported];
    await reported(world, connectionId, at, SCALED);
    const before = world.provider.hits.length;
    // Sweeps have gone by when one of them has taken over another connection.
    const others = await kill('claimed', 1);
    await expect.poll(() => world.provider.hitsOf(others.connections[0]!.family).length, { timeout: 10_000 }).toBe(1);
    expect(world.provider.hits.length).toBe(before + 1);
  });

  it('has a loss reported as such also where a frozen replica gave the lease back in between', async () => {
    const second = await world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: 'before_send:stop' });
    const victim = await world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: 'answered:kill' });
    const connections = await world.import(survivor, 1);
    const [{ connectionId, family }] = connections as [Imported];
    survivor.process.signal('SIGSTOP');
    await killed(victim, connections);
    const asked = tokenOf(second, connectionId).catch(asFailure);
    await frozen(second.process);
    await ended(world, connectionId);
    second.process.signal('SIGCONT');
    expect(await asked).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE' });
    expect(world.provider.hitsOf(family)).toHaveLength(1);
    survivor.process.signal('SIGCONT');
    await reported(world, connectionId, performance.now(), SCALED);
    await second.process.stop('SIGKILL');
  });

  it.each(FAILPOINTS.filter((step) => !LOSING.includes(step)))('loses nothing to a kill at `%s`', async (step) => {
    for (let run = 0; run < RUNS; run++) {
      const { connections, at } = await kill(step, 1);
      expect(await usable(world, survivor, connections, at)).toBeLessThanOrEqual(boundMs(SCALED, 1));
      expect(world.provider.hitsOf(connections[0]!.family)).toHaveLength(1);
      if (AFTER_COMMIT.includes(step))
        expect((await eventsOf(world.database, connections[0]!.connectionId)).map(({ type }) => type)).toContain(
          'connection.refreshed',
        );
    }
  });
});

/** Waits until a connection's lease has ended. */
async function ended({ database }: Refreshing, connectionId: string): Promise<void> {
  const look = () =>
    database.sql('select lease_until < clock_timestamp() as ended from latchkey.credential where connection_id = $1', [
      connectionId,
    ]);
  await expect.poll(look, { timeout: 10_000 }).toEqual([{ ended: true }]);
}

async function refusalOf(replica: ReplicaProcess, connectionId: string) {
  return tokenOf(replica, connectionId).then(() => null, asFailure);
}

/** Within L+S+2D of a kill a loss is a status with its reason, an event and an entry of the audit trail. */
async function reported(world: Refreshing, connectionId: string, at: number, numbers: Numbers): Promise<void> {
  const within = numbers.lease + numbers.sweep + 2 * numbers.call + SLACK_MS;
  const status = async () => {
    const rows = await world.database.sql<{ status: string; status_reason: string }>(
      'select status, status_reason from latchkey.connection where id = $1',
      [connectionId],
    );
    return rows[0];
  };
  await expect
    .poll(status, { timeout: within, interval: 50 })
    .toEqual({ status: 'REAUTHORIZATION_REQUIRED', status_reason: 'refresh_outcome_unknown' });
  expect(performance.now() - at).toBeLessThanOrEqual(within);
  const events = await eventsOf(world.database, connectionId);
  const lost = events.filter(({ type }) => type === 'connection.reauthorization_required');
  expect(lost).toHaveLength(1);
  expect(lost[0]!.payload).toMatchObject({ reason: 'refresh_outcome_unknown' });
  const entries = await auditOf(world.database, connectionId);
  const noted = entries.filter(({ action }) => action === 'connection_refresh_failed');
  expect(noted).toHaveLength(1);
  expect(noted[0]!.after).toMatchObject({ reason: 'refresh_outcome_unknown' });
}

describe('A holder that is frozen', () => {
  let world: Refreshing;
  let survivor: ReplicaProcess;
  beforeAll(async () => {
    world = await Refreshing.start(await GraceProvider.start({ graceMs: 60_000, reuse: 'refuse' }), SCALED);
    survivor = await world.replica();
  });
  // One that a failed test left frozen would keep all others waiting.
  afterEach(() => survivor.process.signal('SIGCONT'));
  afterAll(() => world.stop());

  it('before it sends does not send after its lease, not even to a provider that would forgive it', async () => {
    for (const step of ['claimed', 'before_send'] as const) {
      const victim = await world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: `${step}:stop` });
      const connections = await world.import(survivor, 1);
      const [{ connectionId, family }] = connections as [Imported];
      const asked = tokenOf(victim, connectionId).catch(() => null);
      await frozen(victim.process);
      await usable(world, survivor, connections, performance.now());
      victim.process.signal('SIGCONT');
      await asked;
      expect(world.provider.goesOn(await tokenOf(victim, connectionId))).toBe(true);
      expect(world.provider.hitsOf(family)).toHaveLength(1);
      await victim.process.stop('SIGKILL');
    }
  });

  it('before it sends, with nobody else there, gives the lease back and refreshes anew', async () => {
    const victim = await world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: 'before_send:stop' });
    const connections = await world.import(survivor, 1);
    const [{ connectionId, family }] = connections as [Imported];
    survivor.process.signal('SIGSTOP');
    const asked = tokenOf(victim, connectionId).catch(asFailure);
    await frozen(victim.process);
    await ended(world, connectionId);
    victim.process.signal('SIGCONT');
    expect(await asked).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE' });
    expect(world.provider.hitsOf(family)).toHaveLength(0);
    await victim.process.stop('SIGKILL');
    survivor.process.signal('SIGCONT');
    await usable(world, survivor, connections, performance.now());
    expect(world.provider.hitsOf(family)).toHaveLength(1);
  });

  /** The answer to a holder that is frozen comes; another one has the lease, and its call is on its way. */
  const late = async () => {
    const victim = await world.replica(NO_SWEEPS);
    const [imported] = (await world.import(survivor, 1)) as [Imported];
    const { connectionId, family } = imported;
    const mine = world.provider.next(family, { hold: 'after' });
    const asked = tokenOf(victim, connectionId).catch(() => null);
    await mine.arrived;
    victim.process.signal('SIGSTOP');
    await frozen(victim.process);
    mine.release();
    const other = world.provider.next(family, { hold: 'before', status: 503 });
    await other.arrived;
    victim.process.signal('SIGCONT');
    const candidates = async () => {
      const rows = await world.database.sql<{ n: number }>(
        `select count(*)::int as n from latchkey.token_generation where connection_id = $1 and state = 'candidate'`,
        [connectionId],
      );
      return rows[0]!.n;
    };
    await expect.poll(candidates, { timeout: 10_000 }).toBe(1);
    return {
      imported,
      other,
      async done() {
        await asked;
        await victim.process.stop('SIGKILL');
      },
    };
  };

  it.each(['refuse', 'revoke_family'] as const)(
    'after it sent keeps what it got as a candidate, which saves the connection where reuse leads to `%s`',
    async (reuse) => {
      Object.assign(world.provider.options, { graceMs: 60_000, reuse });
      const { imported, other, done } = await late();
      const { connectionId, family } = imported;
      // From here on the stored token is beyond its grace.
      world.provider.options.graceMs = 0;
      other.release();
      await done();
      await expect.poll(() => tokenOf(survivor, connectionId).catch(() => null), { timeout: 20_000 }).not.toBeNull();
      const token = await tokenOf(survivor, connectionId);
      expect(world.provider.familyOf(token)).toBe(family);
      expect(world.provider.goesOn(token)).toBe(true);
      const newest = world.provider.hitsOf(family).at(-1)!;
      expect(newest.ok).toBe(true);
      expect(newest.token).not.toBe(family.first.refreshToken);
      expect(world.provider.hitsOf(family).filter((hit) => hit.token === newest.token)).toHaveLength(1);
    },
  );

  it('after it sent saves a connection whose grant another one was told is dead', async () => {
    Object.assign(world.provider.options, { graceMs: 0, reuse: 'refuse' });
    const victim = await world.replica(NO_SWEEPS);
    const [{ connectionId, family }] = (await world.import(survivor, 1)) as [Imported];
    const mine = world.provider.next(family, { hold: 'after' });
    const asked = tokenOf(victim, connectionId).catch(() => null);
    await mine.arrived;
    victim.process.signal('SIGSTOP');
    await frozen(victim.process);
    mine.release();
    await reported(world, connectionId, performance.now(), SCALED);
    victim.process.signal('SIGCONT');
    await asked;
    await expect.poll(() => tokenOf(survivor, connectionId).catch(() => null), { timeout: 20_000 }).not.toBeNull();
    expect(world.provider.goesOn(await tokenOf(survivor, connectionId))).toBe(true);
    expect(world.provider.hitsOf(family).map(({ ok }) => ok)).toEqual([true, false, true]);
    await victim.process.stop('SIGKILL');
  });
});

describe('The sweeper', () => {
  let world: Refreshing;
  let survivor: ReplicaProcess;
  beforeAll(async () => {
    world = await Refreshing.start(await GraceProvider.start({ graceMs: 6_000 }), SCALED);
    // Its own calls may take long.
    survivor = await world.replica({ REFRESH_CALL_MS: '8000', REFRESH_LEASE_MS: '16500' });
  });
  afterAll(() => world.stop());

  const refreshedBySweep = async ({ connectionId, family }: Imported, at: number) => {
    const generation = () =>
      world.database.sql('select generation from latchkey.credential where connection_id = $1', [connectionId]);
    await expect.poll(generation, { timeout: boundMs(SCALED, 1) }).toEqual([{ generation: 2 }]);
    expect(performance.now() - at).toBeLessThanOrEqual(boundMs(SCALED, 1));
    expect(family.revoked).toBe(false);
  };

  it('takes over what a dead replica left, while a provider hangs on another connection', async () => {
    const [hanging, left] = (await world.import(survivor, 2)) as [Imported, Imported];
    const held = world.provider.next(hanging.family, { hold: 'before' });
    await world.database.sql('update latchkey.connection set last_used_at = now() where id = $1', [
      hanging.connectionId,
    ]);
    await world.database.sql('update latchkey.credential set refresh_due = now() where connection_id = $1', [
      hanging.connectionId,
    ]);
    await held.arrived;
    const victim = await world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: 'answered:kill' });
    await refreshedBySweep(left, await killed(victim, [left]));
    held.release();
  });

  it('takes over an attempt that was forced in a pause, without waiting for the end of the pause', async () => {
    const [imported] = (await world.import(survivor, 1)) as [Imported];
    const { connectionId, family } = imported;
    world.provider.next(family, { status: 429, retryAfterS: 3_600 });
    expect(await refusalOf(survivor, connectionId)).toMatchObject({ reason: 'PROVIDER_RATE_LIMITED' });
    const victim = await world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: 'answered:kill' });
    await victim.clients.connections.refreshConnection({ connectionId }).catch(() => null);
    expect((await victim.process.exited).signal).toBe('SIGKILL');
    await refreshedBySweep(imported, performance.now());
    expect(world.provider.hitsOf(family)).toHaveLength(3);
  });
});

it('With the real numbers: a kill, two kills, a kill without grace', async () => {
  const forgiving = await Refreshing.start(await GraceProvider.start({ graceMs: 60_000 }), REAL);
  const strict = await Refreshing.start(await GraceProvider.start({ graceMs: 0 }), REAL);
  const victimAt = (world: Refreshing, step: Failpoint) =>
    world.replica({ ...NO_SWEEPS, REFRESH_FAILPOINTS: `${step}:kill` });
  try {
    const [survivor, other] = [await forgiving.replica(NO_SWEEPS), await strict.replica()];
    const once = async () => {
      const victim = await victimAt(forgiving, 'before_commit');
      const connections = await forgiving.import(survivor, 1);
      const ms = await usable(forgiving, survivor, connections, await killed(victim, connections));
      expect(ms).toBeLessThanOrEqual(27_000 + SLACK_MS);
      expect(forgiving.provider.hitsOf(connections[0]!.family)).toHaveLength(2);
      report('one kill, real numbers', [ms]);
    };
    const twice = async () => {
      const victims = [await victimAt(forgiving, 'answered'), await victimAt(forgiving, 'before_commit')];
      const connections = await forgiving.import(survivor, 1);
      const at = await killed(victims[0]!, connections);
      await killed(victims[1]!, connections);
      const ms = await usable(forgiving, survivor, connections, at);
      expect(ms).toBeLessThanOrEqual(47_000 + SLACK_MS);
      expect(forgiving.provider.hitsOf(connections[0]!.family)).toHaveLength(3);
      report('two kills, real numbers', [ms]);
    };
    const lost = async () => {
      const victim = await victimAt(strict, 'answered');
      const connections = await strict.import(other, 1);
      await reported(strict, connections[0]!.connectionId, await killed(victim, connections), REAL);
      expect(strict.provider.hitsOf(connections[0]!.family)).toHaveLength(2);
    };
    await Promise.all([once(), twice(), lost()]);
    expect(forgiving.provider.lost).toEqual([]);
  } finally {
    await Promise.all([forgiving.stop(), strict.stop()]);
  }
});
