import { randomInt } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Browser } from '../harness/browser.ts';
import { asFailure } from '../harness/errors.ts';
import { GraceProvider, type Hit } from '../harness/grace-provider.ts';
import type { ServerProcess } from '../harness/process.ts';
import { type Imported, REAL, Refreshing, type ReplicaProcess, SCALED, tokenOf } from '../harness/refreshing.ts';

const ROUNDS = Number(process.env.STORM_ROUNDS ?? 100);
const SOAK_MS = Number(process.env.SOAK_MINUTES ?? 3) * 60_000;
const WIDE = { MAX_IN_FLIGHT: '20000' };

describe('A storm of callers', () => {
  let world: Refreshing;
  let replicas: ReplicaProcess[];
  beforeAll(async () => {
    world = await Refreshing.start(await GraceProvider.start({ graceMs: 0 }), REAL);
    replicas = await Promise.all([1, 2, 3].map(() => world.replica(WIDE)));
    await world.integration(replicas[0]!);
  });
  afterAll(() => world.stop());

  /** All ask at once for a token that has expired: one hit, one new token for all. */
  const storm = async (of: ReplicaProcess[], callersEach: number) => {
    const [imported] = await world.import(of[0]!, 1);
    const { connectionId, family } = imported!;
    const asked = of.flatMap((replica) => Array.from({ length: callersEach }, () => tokenOf(replica, connectionId)));
    const tokens = new Set(await Promise.all(asked));
    expect(tokens.size).toBe(1);
    expect(world.provider.goesOn([...tokens][0]!)).toBe(true);
    expect(world.provider.hitsOf(family)).toHaveLength(1);
  };

  it(`of 1,000 on one replica costs one hit, ${2 * ROUNDS} times`, async () => {
    for (let round = 0; round < 2 * ROUNDS; round++) await storm([replicas[0]!], 1_000);
  });

  it(`of 300 on each of three replicas costs one hit, ${ROUNDS} times`, async () => {
    for (let round = 0; round < ROUNDS; round++) await storm(replicas, 300);
  });

  it('of 300 on each of three replicas costs one hit although their clocks are ten minutes off, both ways', async () => {
    const skewed = await Promise.all(
      [-600_000, 600_000].map((ms) => world.replica({ ...WIDE, NODE_OPTIONS: clockOff(ms) })),
    );
    const [behind, ahead] = await Promise.all(skewed.map(({ process }) => clockOf(process)));
    expect(ahead! - behind!).toBeGreaterThan(1_100_000);
    for (let round = 0; round < ROUNDS / 5; round++) await storm([...skewed, replicas[0]!], 300);
  });

  it('of 10,000 on a dead refresh token costs two hits at most', async () => {
    const [imported] = await world.import(replicas[0]!, 1);
    const { connectionId, family } = imported!;
    family.revoked = true;
    const reasons = new Map<string, number>();
    const ask = async (replica: ReplicaProcess) => {
      const reason = await tokenOf(replica, connectionId).then(
        () => 'answered',
        (error) => asFailure(error).reason,
      );
      reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
    };
    await Promise.all(Array.from({ length: 10_000 }, (_, i) => ask(replicas[i % 2]!)));
    expect(Object.fromEntries(reasons)).toEqual({ REAUTHORIZATION_REQUIRED: 10_000 });
    expect(world.provider.hitsOf(family).length).toBeLessThanOrEqual(2);
    family.revoked = false;
  });

  it('has lost no grant', () => {
    expect(world.provider.lost).toEqual([]);
  });
});

/** Settings of Node.js under which every `Date` is off: `faketime` is not everywhere. Monotonic time is as it is. */
function clockOff(ms: number): string {
  const code = `globalThis.Date = class extends Date {
    constructor(...given) { if (given.length) super(...given); else super(Date.now()); }
    static now() { return super.now() + ${ms}; }
  }`;
  return `--import=data:text/javascript,${encodeURIComponent(code)}`;
}

/** By what it logged when it was ready. */
async function clockOf(process: ServerProcess): Promise<number> {
  const { time } = JSON.parse(await process.says(/\{[^\n]*"message":"ready"\}/)) as { time: number | string };
  return new Date(time).getTime();
}

describe('While a refresh is under way', () => {
  let world: Refreshing;
  let replicas: ReplicaProcess[];
  let connectionId: string;
  let imported: Imported;
  beforeAll(async () => {
    world = await Refreshing.start(await GraceProvider.start({ graceMs: 0 }), REAL);
    replicas = await Promise.all([1, 2].map(() => world.replica()));
  });
  afterAll(() => world.stop());
  beforeEach(async () => {
    [imported] = (await world.import(replicas[0]!, 1)) as [Imported];
    connectionId = imported.connectionId;
  });

  const kept = async () => {
    const rows = await world.database.sql<{ state: string }>(
      'select state from latchkey.token_generation where connection_id = $1 order by create_time',
      [connectionId],
    );
    return rows.map(({ state }) => state);
  };
  const begin = async () => {
    const held = world.provider.next(imported.family, { hold: 'after' });
    const asked = tokenOf(replicas[0]!, connectionId).catch(asFailure);
    await held.arrived;
    return { held, asked };
  };

  it('a caller who leaves stops nothing: others get the token', async () => {
    const held = world.provider.next(imported.family, { hold: 'after' });
    const leaving = new AbortController();
    const left = replicas[0]!.clients.connections
      .getCredentials({ connectionId }, { signal: leaving.signal })
      .catch(asFailure);
    await held.arrived;
    const others = [0, 1].map((i) => tokenOf(replicas[i]!, connectionId));
    leaving.abort();
    expect(await left).toMatchObject({ code: 'Canceled' });
    held.release();
    const tokens = new Set(await Promise.all(others));
    expect(tokens.size).toBe(1);
    expect(world.provider.goesOn([...tokens][0]!)).toBe(true);
    expect(world.provider.hitsOf(imported.family)).toHaveLength(1);
  });

  it('the only caller who leaves stops nothing: the token is stored', async () => {
    const held = world.provider.next(imported.family, { hold: 'after' });
    const leaving = new AbortController();
    const left = replicas[0]!.clients.connections
      .getCredentials({ connectionId }, { signal: leaving.signal })
      .catch(asFailure);
    await held.arrived;
    leaving.abort();
    await left;
    held.release();
    await expect.poll(kept, { timeout: 10_000 }).toEqual(['active']);
    expect(await tokenOf(replicas[1]!, connectionId)).toBe(world.provider.newestOf(imported.family).accessToken);
    expect(world.provider.hitsOf(imported.family)).toHaveLength(1);
  });

  it('a new consent wins over what the refresh brings', async () => {
    const { held, asked } = await begin();
    const { authorizationUrl } = await replicas[1]!.clients.connections.startAuthorization({
      integrationId: await world.integration(replicas[1]!),
      target: { case: 'connectionId', value: connectionId },
    });
    expect((await new Browser().goto(authorizationUrl)).text).toContain('Your account is connected');
    held.release();
    await expect.poll(kept, { timeout: 10_000 }).toEqual(['superseded']);
    await asked;
    for (const replica of replicas) {
      const token = await tokenOf(replica, connectionId);
      expect(world.provider.familyOf(token)).not.toBe(imported.family);
      expect(world.provider.goesOn(token)).toBe(true);
    }
    expect(world.provider.hitsOf(imported.family)).toHaveLength(1);
  });

  it.each(['deleteConnection', 'revokeConnection'] as const)('%s leaves no live token behind', async (method) => {
    const { held, asked } = await begin();
    await replicas[1]!.clients.connections[method]({ connectionId });
    const { refreshToken } = world.provider.newestOf(imported.family);
    held.release();
    await expect.poll(() => world.provider.revoked, { timeout: 20_000 }).toContain(refreshToken);
    expect(await asked).toMatchObject({
      reason: method === 'deleteConnection' ? 'CONNECTION_NOT_FOUND' : 'REAUTHORIZATION_REQUIRED',
    });
    expect(await kept()).toEqual([]);
    const credentials = await world.database.sql('select from latchkey.credential where connection_id = $1', [
      connectionId,
    ]);
    expect(credentials).toHaveLength(0);
    expect(world.provider.hitsOf(imported.family)).toHaveLength(1);
  });
});

it(`Three replicas that are killed and frozen at random for ${SOAK_MS / 60_000} minutes lose nothing and repeat nothing beyond the model`, async () => {
  const CONNECTIONS = 100;
  const EVERY_MS = 5_000;
  const CALLERS = 6;
  const provider = await GraceProvider.start({ graceMs: 12_000, again: 'new_pair', expiresInS: 20 });
  // Long enough that every fault finds some under way.
  provider.delayMs = 300;
  const world = await Refreshing.start(provider, SCALED);
  try {
    const replicas = await Promise.all([1, 2, 3].map(() => world.replica()));
    const claimsOf = await recordClaims(world);
    const connections = await world.import(replicas[0]!, CONNECTIONS);
    let faults = 0;
    const end = performance.now() + SOAK_MS;
    let answered = 0;
    const wrong: string[] = [];
    const callers = Array.from({ length: CALLERS }, async () => {
      while (performance.now() < end) {
        const { connectionId, family } = connections[randomInt(CONNECTIONS)]!;
        const token = await tokenOf(replicas[randomInt(replicas.length)]!, connectionId).catch((error) => {
          const { code, reason } = asFailure(error);
          // Who asks a replica that dies or starts hears that it is not there.
          if (code !== 'Unavailable' && reason !== '') wrong.push(`${code} ${reason}`);
          return null;
        });
        if (token === null) {
          // Nobody is there for a moment: let the others have their turn.
          await new Promise(setImmediate);
          continue;
        }
        answered += 1;
        if (token !== family.first.accessToken && provider.familyOf(token) !== family)
          wrong.push(`token of ${family.id}`);
      }
    });
    const until = (time: number) =>
      expect.poll(() => performance.now() >= time, { timeout: EVERY_MS * 4, interval: 20 }).toBe(true);
    for (let next = performance.now() + EVERY_MS; next < end - EVERY_MS; next += EVERY_MS) {
      await until(next);
      const victim = randomInt(replicas.length);
      const { process } = replicas[victim]!;
      faults += 1;
      if (randomInt(2)) {
        await process.stop('SIGKILL');
        replicas[victim] = await world.replica();
      } else {
        process.signal('SIGSTOP');
        await until(performance.now() + 300 + randomInt(3_500));
        process.signal('SIGCONT');
      }
    }
    await Promise.all(callers);
    expect(wrong).toEqual([]);
    for (const { connectionId, family } of connections) {
      const fresh = () => tokenOf(replicas[0]!, connectionId).catch(() => '');
      await expect.poll(async () => provider.goesOn(await fresh()), { timeout: 20_000 }).toBe(true);
      expect(family.revoked).toBe(false);
    }
    const repeated = [...Map.groupBy(provider.hits, ({ token }) => token).values()].filter((hits) => hits.length > 1);
    process.stdout.write(
      `  soak: ${faults} faults, ${provider.hits.length} hits, ${repeated.length} tokens sent again, ${answered} answers\n`,
    );
    const strays: string[] = [];
    for (const { connectionId, family } of connections)
      strays.push(...outsideTheModel(provider.hitsOf(family), await claimsOf(connectionId)));
    expect(strays).toEqual([]);
    expect(provider.lost).toEqual([]);
    expect(repeated.length).toBeGreaterThan(0);
  } finally {
    await world.stop();
  }
});

/** Has the database note when leases are claimed, in ms since the epoch. */
async function recordClaims({ database }: Refreshing): Promise<(connectionId: string) => Promise<number[]>> {
  await database.sql(`create table public.claim (connection_id text, at double precision);
    create function public.note_claim() returns trigger language plpgsql security definer as $$ begin
      insert into public.claim values (new.connection_id, extract(epoch from clock_timestamp()) * 1000);
      return null;
    end $$;
    create trigger note_claim after update on latchkey.credential for each row
      when (new.lease_epoch <> old.lease_epoch) execute function public.note_claim()`);
  return async (connectionId) => {
    const rows = await database.sql<{ at: number }>(
      'select at from public.claim where connection_id = $1 order by at',
      [connectionId],
    );
    return rows.map(({ at }) => at);
  };
}

/** Hits of a connection that its claims do not allow: each claim sends once within its lease, and once more where no answer came within D. */
function outsideTheModel(hits: Hit[], claims: number[]): string[] {
  const { call, lease } = SCALED;
  const times = hits.map(({ at }) => performance.timeOrigin + at);
  const strays = times.filter((time) => !claims.some((claim) => claim <= time)).map((time) => `${time}: no claim`);
  for (const [i, claim] of claims.entries()) {
    const own = times.filter((time) => time >= claim && time < (claims[i + 1] ?? Number.POSITIVE_INFINITY));
    const after = own.map((time) => Math.round(time - claim));
    const [first = 0, second = call] = after;
    if (after.length > 2 || first > lease || second < call || second > lease)
      strays.push(`${hits[0]!.family.id}: ${after.join(', ')} ms after a claim`);
  }
  return strays;
}
