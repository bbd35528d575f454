import { Client } from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { bearer } from '../harness/credentials.ts';
import { GraceProvider } from '../harness/grace-provider.ts';
import {
  auditOf,
  type Imported,
  NO_SWEEPS,
  REAL,
  Refreshing,
  type ReplicaProcess,
  SCALED,
  tokenOf,
} from '../harness/refreshing.ts';
import { TcpProxy } from '../harness/tcp-proxy.ts';

let world: Refreshing;
let proxy: TcpProxy;
/** Reaches the database by way of the proxy. */
let replica: ReplicaProcess;
/** Reaches it without. */
let beside: ReplicaProcess;
let connectionId: string;
let imported: Imported;

const start = async (env: Record<string, string> = {}) => {
  const { url } = world.database;
  return world.replica({ ...NO_SWEEPS, DATABASE_URL: proxy.through(url), ...env });
};

beforeAll(async () => {
  world = await Refreshing.start(await GraceProvider.start({ graceMs: 0 }), REAL);
  const { hostname, port } = new URL(world.database.url);
  proxy = await TcpProxy.to(hostname, Number(port));
  beside = await world.replica(NO_SWEEPS);
  replica = await start();
});
afterAll(async () => {
  await world.stop();
  await proxy.stop();
});
beforeEach(async () => {
  [imported] = (await world.import(beside, 1)) as [Imported];
  connectionId = imported.connectionId;
});

/** What is stored of the connection's tokens. */
async function stored() {
  const [row] = await world.database.sql<{ generation: number; kept: string[]; status: string }>(
    `select k.generation, c.status, (select array_agg(t.state order by t.create_time) from latchkey.token_generation t where t.connection_id = k.connection_id) as kept
     from latchkey.credential k join latchkey.connection c on c.id = k.connection_id where k.connection_id = $1`,
    [connectionId],
  );
  return row!;
}

/** One hit, one generation more, one entry: and the token that is stored is the provider's newest. */
async function refreshedOnce(): Promise<void> {
  await expect.poll(stored, { timeout: 20_000 }).toEqual({ generation: 2, status: 'ACTIVE', kept: ['active'] });
  const token = await tokenOf(beside, connectionId);
  expect(world.provider.goesOn(token)).toBe(true);
  expect(world.provider.hitsOf(imported.family)).toHaveLength(1);
  const entries = await auditOf(world.database, connectionId);
  expect(entries.filter(({ action }) => action === 'connection_refreshed')).toHaveLength(1);
}

/** A lock on the connection, which its commit waits for. */
async function lock(): Promise<{ release(): Promise<void> }> {
  const client = new Client({ connectionString: world.database.migrationUrl });
  await client.connect();
  await client.query('begin');
  await client.query('select from latchkey.connection where id = $1 for update', [connectionId]);
  return {
    async release() {
      await client.query('commit');
      await client.end();
    },
  };
}

const commits = (state: string) =>
  world.database.sql<{ pid: number }>(
    `select pid from pg_stat_activity where datname = current_database() and application_name = 'latchkey-commit' and ${state}`,
  );

/** Counts from now on how often a process says something. */
function listening({ process }: ReplicaProcess, text: RegExp): () => number {
  const before = process.output.length;
  return () => process.output.slice(before).match(text)?.length ?? 0;
}
const HELD = /refreshed tokens wait for the database/g;

describe('The commit of a refresh', () => {
  it('whose acknowledgement is lost is looked up, not repeated', async () => {
    const lost = proxy.loseAnswerTo('commitRefresh');
    const token = await tokenOf(replica, connectionId);
    await lost;
    expect(world.provider.goesOn(token)).toBe(true);
    await refreshedOnce();
    expect(await tokenOf(beside, connectionId)).toBe(token);
  });

  it('whose connection the database ends is made on another', async () => {
    const { release } = await lock();
    const asked = tokenOf(replica, connectionId);
    await expect.poll(() => commits(`wait_event_type = 'Lock'`), { timeout: 10_000 }).toHaveLength(1);
    const [{ pid }] = (await commits(`wait_event_type = 'Lock'`)) as [{ pid: number }];
    await world.database.sql('select pg_terminate_backend($1)', [pid]);
    await expect.poll(() => commits(`wait_event_type = 'Lock' and pid <> ${pid}`), { timeout: 10_000 }).toHaveLength(1);
    await release();
    expect(world.provider.goesOn(await asked)).toBe(true);
    await refreshedOnce();
  });

  it('that goes through although its connection broke is not made twice', async () => {
    const { release } = await lock();
    const asked = tokenOf(replica, connectionId);
    await expect.poll(() => commits(`wait_event_type = 'Lock'`), { timeout: 10_000 }).toHaveLength(1);
    proxy.cut();
    proxy.mend();
    // The one before waits on: the database has not seen that nobody listens.
    await expect.poll(() => commits(`wait_event_type = 'Lock'`), { timeout: 10_000 }).toHaveLength(2);
    await release();
    expect(world.provider.goesOn(await asked)).toBe(true);
    await refreshedOnce();
  });

  it('is made again where the database chose it to resolve a deadlock', async () => {
    const client = new Client({ connectionString: world.database.migrationUrl });
    await client.connect();
    // The first insert of a generation fails as the victim of a deadlock does.
    await client.query(`create sequence latchkey.deadlocks; grant usage on sequence latchkey.deadlocks to public;
      create function latchkey.deadlock() returns trigger language plpgsql as $$ begin
        if nextval('latchkey.deadlocks') = 1 then raise exception 'deadlock detected' using errcode = '40P01'; end if;
        return new; end $$;
      create trigger deadlock before insert on latchkey.token_generation for each row execute function latchkey.deadlock()`);
    try {
      expect(world.provider.goesOn(await tokenOf(replica, connectionId))).toBe(true);
      await refreshedOnce();
      const [row] = (await client.query(`select last_value::int as tried from latchkey.deadlocks`)).rows;
      expect(row.tried).toBe(2);
    } finally {
      await client.query(
        `drop trigger deadlock on latchkey.token_generation; drop function latchkey.deadlock(); drop sequence latchkey.deadlocks`,
      );
      await client.end();
    }
  });

  it('does not hang on a connection that went silent', async () => {
    const silent = await start();
    // It has connections open.
    expect(world.provider.goesOn(await tokenOf(silent, (await world.import(beside, 1))[0]!.connectionId))).toBe(true);
    const held = world.provider.next(imported.family, { hold: 'after' });
    const asked = tokenOf(silent, connectionId).catch(() => null);
    await held.arrived;
    proxy.silence();
    held.release();
    await expect.poll(async () => (await stored()).generation, { timeout: 15_000 }).toBe(2);
    await silent.process.stop('SIGKILL');
    await asked;
    await refreshedOnce();
  });
});

describe('A database that is away once the provider has answered', () => {
  it('gets the tokens when it is back', async () => {
    const held = world.provider.next(imported.family, { hold: 'after' });
    const asked = tokenOf(replica, connectionId).catch(() => null);
    await held.arrived;
    const heard = listening(replica, HELD);
    proxy.cut();
    held.release();
    await expect.poll(heard, { timeout: 20_000 }).toBeGreaterThan(3);
    expect((await stored()).generation).toBe(1);
    proxy.mend();
    await asked;
    await refreshedOnce();
  });

  it('gets them from a process that was told to stop, which waits', async () => {
    const leaving = await start();
    const held = world.provider.next(imported.family, { hold: 'after' });
    const asked = tokenOf(leaving, connectionId).catch(() => null);
    await held.arrived;
    const heard = listening(leaving, HELD);
    proxy.cut();
    held.release();
    await expect.poll(heard, { timeout: 20_000 }).toBeGreaterThan(0);
    leaving.process.signal('SIGTERM');
    await leaving.process.says(/"message":"stopping"/);
    // For longer than calls in flight are waited for, which is 5 s here: it tries again four times a second.
    const since = listening(leaving, HELD);
    await expect.poll(since, { timeout: 30_000 }).toBeGreaterThan(30);
    expect(leaving.process.child.exitCode).toBeNull();
    expect((await stored()).generation).toBe(1);
    proxy.mend();
    expect((await leaving.process.exited).code).toBe(0);
    await asked;
    await refreshedOnce();
  });
});

describe('A replica that is cut off from the database', () => {
  it('loses no grant to the one that takes over, and puts nothing over what that one stored', async () => {
    const provider = await GraceProvider.start({ graceMs: 6_000, again: 'new_pair' });
    const other = await Refreshing.start(provider, SCALED);
    try {
      const near = await other.replica();
      const far = await other.replica({ ...NO_SWEEPS, DATABASE_URL: throughTo(other) });
      const [{ connectionId: id, family }] = (await other.import(near, 1)) as [Imported];
      const held = provider.next(family, { hold: 'after' });
      const asked = tokenOf(far, id).catch(() => null);
      await held.arrived;
      proxy.cut();
      held.release();
      const token = await tokenOf(near, id);
      expect(provider.goesOn(token)).toBe(true);
      proxy.mend();
      const kept = () =>
        other.database.sql<{ state: string }>(
          'select state from latchkey.token_generation where connection_id = $1 order by create_time',
          [id],
        );
      await expect.poll(kept, { timeout: 10_000 }).toEqual([{ state: 'active' }, { state: 'candidate' }]);
      await asked;
      expect(await tokenOf(near, id)).toBe(token);
      await expect.poll(() => tokenOf(far, id).catch(() => null), { timeout: 10_000 }).toBe(token);
      expect(provider.hitsOf(family)).toHaveLength(2);
      expect(family.revoked).toBe(false);
    } finally {
      proxy.mend();
      await other.stop();
    }
  });
});

/** One server has all databases. */
function throughTo({ database }: Refreshing): string {
  return proxy.through(database.url);
}

describe('A pool of 2', () => {
  it('answers 200 calls for other connections while 40 refreshes are under way', async () => {
    const small = await world.replica({ ...NO_SWEEPS, DATABASE_POOL_SIZE: '2', CREDENTIAL_CACHE_ENTRIES: '0' });
    const due = await world.import(beside, 40);
    const { connection } = await beside.clients.connections.createConnection({
      name: 'other',
      credential: bearer('t'),
    });
    const held = due.map(({ family }) => world.provider.next(family, { hold: 'after' }));
    let ended = 0;
    const asked = due.map(async ({ connectionId: id }) => {
      const token = await tokenOf(small, id);
      ended += 1;
      return token;
    });
    await Promise.all(held.map(({ arrived }) => arrived));
    const others = await Promise.all(Array.from({ length: 200 }, () => tokenOf(small, connection!.id)));
    expect(others.filter((token) => token === 't')).toHaveLength(200);
    expect(ended).toBe(0);
    for (const { release } of held) release();
    for (const token of await Promise.all(asked)) expect(world.provider.goesOn(token)).toBe(true);
    expect(due.map(({ family }) => world.provider.hitsOf(family).length)).toEqual(due.map(() => 1));
  });
});
