import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../src/base/id.ts';
import { cursorText, headOf } from '../../src/domain/feeds/event-cursor.ts';
import { Housekeeper } from '../../src/jobs/housekeeper.ts';
import { bearer, secret } from '../harness/credentials.ts';
import { asFailure } from '../harness/errors.ts';
import { type Clients, TestServer } from '../harness/server.ts';
import { Watch } from '../harness/watching.ts';

const WITHIN = { timeout: 5_000, interval: 10 };
const DAY_MS = 86_400_000;

let one: TestServer;
let two: TestServer;
let tenants = 0;
/** Two replicas on one database. */
beforeAll(async () => {
  one = await TestServer.start({ env: { STREAM_STALL_MS: '500', RETENTION_DAYS: '2' } });
  two = await TestServer.start({ database: one.database, masterKey: one.masterKey });
});
afterAll(async () => {
  await two.stop();
  await one.stop();
});

/** A new tenant, by way of each replica. */
async function newTenant(): Promise<{ tenant: string; here: Clients; there: Clients }> {
  const tenant = `watched-${++tenants}`;
  return { tenant, here: await one.as('admin', { tenant }), there: await two.as('admin', { tenant }) };
}

async function newConnection({ connections }: Clients, name: string): Promise<string> {
  return (await connections.createConnection({ name, credential: bearer('t') })).connection!.id;
}

/** Events straight into the table, in a transaction that stays open until `commit`. */
async function writing(tenant: string, ids: string[], payload = {}): Promise<{ commit(): Promise<void> }> {
  const client = new Client({ connectionString: one.database.migrationUrl });
  await client.connect();
  await client.query('begin');
  await client.query(
    `insert into latchkey.outbox (tenant_id, id, type, aggregate_type, aggregate_id, generation, payload, create_time)
     select $1, id, 'tenant.created', 'tenant', $1, 1, $3, now() from unnest($2::text[]) id`,
    [tenant, ids, payload],
  );
  return {
    commit: async () => {
      await client.query('commit');
      await client.end();
    },
  };
}

describe('Watches of events', () => {
  it('hear what another replica did, in well under a second', async () => {
    const { here, there } = await newTenant();
    await newConnection(there, 'first');
    const watch = await Watch.start(here);
    for (let i = 0; i < 5; i++) {
      const before = performance.now();
      await newConnection(there, `c${i}`);
      await expect.poll(() => watch.events.length, { timeout: 1_000, interval: 2 }).toBe(i + 1);
      expect(performance.now() - before).toBeLessThan(1_000);
    }
    await watch.stop();
  });

  it('do not lose what was committed late, after what came later', async () => {
    const { tenant, here } = await newTenant();
    const watch = await Watch.start(here, { filter: { aggregateType: 'tenant' } });
    const late = newId('evt');
    const open = await writing(tenant, [late]);
    const early = [newId('evt'), newId('evt')];
    await (await writing(tenant, early)).commit();
    await expect.poll(() => watch.events.map(({ id }) => id), WITHIN).toEqual(early);
    const cursor = watch.cursors.at(-1)!;
    await open.commit();
    await expect.poll(() => watch.events.map(({ id }) => id), WITHIN).toEqual([...early, late]);
    await watch.stop();
    const resumed = await Watch.start(here, { cursor, filter: { aggregateType: 'tenant' } });
    await expect.poll(() => resumed.events.map(({ id }) => id), WITHIN).toEqual([late]);
    await resumed.stop();
  });

  it('keep the order of the changes of one connection, whichever transaction began first', async () => {
    const { here, there } = await newTenant();
    const id = await newConnection(here, 'c');
    const watch = await Watch.start(there, { filter: { connectionId: id } });
    const changes = Array.from({ length: 40 }, (_, i) =>
      (i % 2 ? here : there).connections.updateConnection({ connectionId: id, displayName: `${i}` }),
    );
    await Promise.all(changes);
    await expect.poll(() => watch.events.length, WITHIN).toBe(40);
    expect(watch.events.map(({ generation }) => generation)).toEqual(Array.from({ length: 40 }, (_, i) => i + 2));
    await watch.stop();
  });

  it('share one reading of the table in a replica', async () => {
    const { tenant, here } = await newTenant();
    const watches = await Promise.all(Array.from({ length: 30 }, () => Watch.start(here)));
    const reads = async () => {
      const [row] = await one.database.sql<{ calls: string }>(
        `select coalesce(sum(idx_scan), 0) as calls from pg_stat_user_indexes where indexrelname = 'outbox_by_position'`,
      );
      return Number(row!.calls);
    };
    const before = await reads();
    await (await writing(tenant, [newId('evt')])).commit();
    for (const watch of watches) await expect.poll(() => watch.events.length, WITHIN).toBe(1);
    await one.database.sql('select pg_stat_force_next_flush()');
    expect((await reads()) - before).toBeLessThan(20);
    for (const watch of watches) await watch.stop();
  });

  it('cut off a reader that takes nothing, who goes on from the last cursor', async () => {
    const { tenant, here } = await newTenant();
    const stream = here.events.watchEvents({})[Symbol.asyncIterator]();
    let { cursor } = (await stream.next()).value;
    const ids = Array.from({ length: 3_000 }, () => newId('evt'));
    await (await writing(tenant, ids, { text: 'x'.repeat(2_000) })).commit();
    const seen: string[] = [];
    const take = async (next: Promise<IteratorResult<Awaited<ReturnType<typeof stream.next>>['value']>>) => {
      const { value, done } = await next;
      if (done) return false;
      seen.push(...value.events.map(({ id }: { id: string }) => id));
      cursor = value.cursor;
      return true;
    };
    const cut = () => one.logLines.some((line) => line.includes('READER_TOO_SLOW'));
    await expect.poll(cut, { timeout: 15_000, interval: 50 }).toBe(true);
    const failure = await (async () => {
      while (await take(stream.next()));
    })().catch(asFailure);
    expect(failure).toMatchObject({ code: 'ResourceExhausted', reason: 'READER_TOO_SLOW' });
    expect(seen.length).toBeLessThan(ids.length);
    const rest = await Watch.start(here, { cursor });
    await expect.poll(() => seen.length + rest.events.length, { timeout: 15_000 }).toBe(ids.length);
    expect([...seen, ...rest.events.map(({ id }) => id)]).toEqual(ids);
    await rest.stop();
  });

  it('refuse a cursor from before the retention, with which what it misses goes', async () => {
    const { tenant, here } = await newTenant();
    const id = await newConnection(here, 'old');
    const { app } = one.replica;
    await expect.poll(async () => (await headOf(app, tenant)).position, WITHIN).toBeGreaterThan(0);
    const place = await headOf(app, tenant);
    const now = app.clock.now();
    const old = await Watch.start(here, { cursor: cursorText(app, tenant, place, now - 2 * DAY_MS - 1_000) });
    expect(asFailure(await old.ended)).toMatchObject({ code: 'OutOfRange', reason: 'CURSOR_EXPIRED' });
    await one.database.sql(`update latchkey.outbox set create_time = now() - interval '3 days' where tenant_id = $1`, [
      tenant,
    ]);
    await new Housekeeper(app).clean();
    expect((await here.events.listEvents({})).events).toEqual([]);
    // One that is fresh goes on, although the event that it names is gone.
    const fresh = await Watch.start(here, { cursor: cursorText(app, tenant, place, now) });
    await here.connections.deleteConnection({ connectionId: id });
    await expect.poll(() => fresh.types, WITHIN).toEqual(['connection.deleted']);
    await fresh.stop();
  });

  it('go on when the listener was away', async () => {
    const { here } = await newTenant();
    const watch = await Watch.start(here);
    await one.database.sql(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'latchkey-listen' and datname = current_database()`,
    );
    await newConnection(here, 'c');
    await expect.poll(() => watch.types, WITHIN).toEqual(['connection.created']);
    await watch.stop();
  });

  it('end at once when the server stops', async () => {
    const tenant = 'stopping';
    const third = await TestServer.start({ database: one.database, masterKey: one.masterKey });
    const watch = await Watch.start(await third.as('admin', { tenant }));
    const before = performance.now();
    await third.stop();
    expect(performance.now() - before).toBeLessThan(3_000);
    expect(asFailure(await watch.ended)).toMatchObject({ code: 'Unavailable', reason: 'SHUTTING_DOWN' });
  });
});

describe('Events of tokens', () => {
  it('say once of each generation that it expired', async () => {
    const { tenant, here } = await newTenant();
    const expireTime = { seconds: BigInt(Math.ceil(Date.now() / 1000) + 3_600), nanos: 0 };
    const credential = { kind: { case: 'bearer' as const, value: { token: secret('t'), expireTime } } };
    const { connection } = await here.connections.createConnection({ name: 'c', credential });
    const connectionId = connection!.id;
    const types = async () =>
      (await here.events.listEvents({ filter: { connectionId } })).events.map(({ type }) => type).reverse();
    const housekeeper = new Housekeeper(one.replica.app);
    await housekeeper.clean();
    expect(await types()).toEqual(['connection.created', 'connection.expiring']);
    const expire = () =>
      one.database.sql('update latchkey.credential set expire_time = now() - interval $$1 s$$ where tenant_id = $1', [
        tenant,
      ]);
    await expire();
    await Promise.all([housekeeper.clean(), new Housekeeper(two.replica.app).clean()]);
    await housekeeper.clean();
    expect(await types()).toEqual(['connection.created', 'connection.expiring', 'connection.expired']);
    await here.connections.updateConnection({ connectionId, credential });
    await expire();
    await housekeeper.clean();
    expect((await types()).slice(3)).toEqual(['connection.updated', 'connection.expired']);
  });

  it('say that a credential does not open', async () => {
    const { tenant, here } = await newTenant();
    const connectionId = await newConnection(here, 'c');
    const watch = await Watch.start(here);
    await one.database.sql(
      `update latchkey.credential set sealed = set_byte(sealed, 40, 255 - get_byte(sealed, 40)) where tenant_id = $1`,
      [tenant],
    );
    await here.connections.getCredentials({ connectionId }).catch(() => {});
    await expect.poll(() => watch.types, WITHIN).toEqual(['connection.integrity_failed']);
    await watch.stop();
  });
});
