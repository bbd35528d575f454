import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newId } from '../../src/base/id.ts';
import { newAuditId } from '../../src/domain/audit/audit-id.ts';
import { readHead } from '../../src/domain/audit/chain-head.ts';
import { sealEntries } from '../../src/domain/audit/seal-entries.ts';
import { type ChainReport, verifyChain } from '../../src/domain/audit/verify-chain.ts';
import { type Exit, ServerProcess } from '../harness/process.ts';
import { operatorAt, Replicas } from '../harness/replicas.ts';
import { TestServer } from '../harness/server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.stop());

const app = () => server.replica.app;
const sql = <Row extends object>(text: string, values: unknown[]) => server.database.sql<Row>(text, values);

async function verify(tenantId: string, heads: Parameters<typeof verifyChain>[3] = []): Promise<ChainReport> {
  const client = await app().pool.connect();
  try {
    return await verifyChain(client, app().auditKeys, tenantId, heads);
  } finally {
    client.release();
  }
}

async function sealed(tenantId: string): Promise<void> {
  const waiting = async () => (await verify(tenantId)).unsealed.entries;
  await expect.poll(waiting, { timeout: 5_000, interval: 50 }).toBe(0);
}

/** A tenant with some sealed entries; answers their ids, in order of the chain. */
async function sealedTenant(tenantId: string): Promise<string[]> {
  const { secrets } = await server.as('admin', { tenant: tenantId });
  for (let i = 0; i < 6; i++) {
    await secrets.createSecret({ name: `s${i}`, value: 'v' });
    if (i % 2 === 0) await sealed(tenantId);
  }
  await sealed(tenantId);
  expect((await verify(tenantId)).faults).toEqual([]);
  return chainOf(tenantId);
}

async function chainOf(tenantId: string): Promise<string[]> {
  const rows = await sql<{ entry_ids: string[] }>(
    'select entry_ids from latchkey.audit_seal where tenant_id = $1 order by first_sequence',
    [tenantId],
  );
  return rows.flatMap((row) => row.entry_ids);
}

const INSERT = `insert into latchkey.audit_entry (tenant_id, id, actor_kind, actor_id, on_behalf_of, action, resource_type, resource_id, request_id, address, create_time)
  values ($1, $2, 'user', 'user_x', '', 'secret_created', 'secret', 'sec_x', '', '', now())`;

describe('The sealer', () => {
  it('seals within a second what many write at once, and what commits late', async () => {
    const tenantId = 'writers';
    const { secrets } = await server.as('admin', { tenant: tenantId });
    await secrets.listSecrets({});
    const late = new Client({ connectionString: server.database.url });
    await late.connect();
    const lateId = newAuditId(app().auditKeys, tenantId);
    await late.query('begin');
    await late.query('select latchkey.enter($1)', [tenantId]);
    await late.query(INSERT, [tenantId, lateId]);
    const write = async (writer: number) => {
      for (let i = 0; i < 25; i++) await secrets.createSecret({ name: `s${writer}-${i}`, value: 'v' });
    };
    await Promise.all(Array.from({ length: 8 }, (_, writer) => write(writer)));
    await sealed(tenantId);
    expect(await chainOf(tenantId)).not.toContain(lateId);
    await late.query('commit');
    await late.end();
    await expect.poll(() => chainOf(tenantId), { timeout: 5_000 }).toContain(lateId);

    const report = await verify(tenantId);
    expect(report.faults).toEqual([]);
    expect(report.head.sequence).toBeGreaterThan(200);
    const [lag] = await sql<{ ms: number }>(
      `select percentile_cont(0.95) within group (order by extract(epoch from s.seal_time - e.create_time))::float8 * 1000 as ms
         from latchkey.audit_seal s cross join lateral unnest(s.entry_ids) u(id) join latchkey.audit_entry e on e.tenant_id = s.tenant_id and e.id = u.id
        where s.tenant_id = $1 and e.id <> $2`,
      [tenantId, lateId],
    );
    expect(lag!.ms).toBeLessThan(1_000);
  });

  it('tells what waits', async () => {
    const metrics = await (await fetch(`${server.httpUrl}/metrics`)).text();
    expect(metrics).toMatch(/^latchkey_audit_unsealed_entries \d+$/m);
    expect(metrics).toMatch(/^latchkey_audit_seal_lag_seconds [\d.e-]+$/m);
  });

  it('seals each entry once, whoever comes first', async () => {
    const tenantId = 'races';
    const { secrets } = await server.as('admin', { tenant: tenantId });
    for (let i = 0; i < 10; i++) {
      await secrets.createSecret({ name: `s${i}`, value: 'v' });
      await Promise.all(Array.from({ length: 4 }, () => sealEntries(app(), tenantId)));
    }
    await sealed(tenantId);
    const { faults, head } = await verify(tenantId);
    expect(faults).toEqual([]);
    const [count] = await sql<{ n: string }>('select count(*) as n from latchkey.audit_entry where tenant_id = $1', [
      tenantId,
    ]);
    expect(head.sequence).toBe(Number(count!.n));
  });

  it('takes what was there before the chain as it is, and nothing later', async () => {
    const queue =
      'insert into latchkey.audit_unsealed (tenant_id, entry_ids, entries, adopted) values ($1, $2, 1, true)';
    const older = async () => {
      const id = newId('aud');
      await server.database.sql(
        `do $$ begin set local session_replication_role = replica; ${INSERT.replace('$1', `'older'`).replace('$2', `'${id}'`)}; end $$`,
      );
      await sql(queue, ['older', [id]]);
      return id;
    };
    await older();
    await older();
    await sealed('older');
    expect(await verify('older')).toMatchObject({ adopted: 2, head: { sequence: 2 }, faults: [] });
    await sql(INSERT, ['older', newAuditId(app().auditKeys, 'older')]);
    await sealed('older');
    const entryId = await older();
    await sealed('older');
    const { adopted, faults } = await verify('older');
    expect(adopted).toBe(2);
    expect(faults).toMatchObject([{ sequence: 4, entryId, what: 'inserted' }]);
  });
});

describe('A chain that somebody with the database was at', () => {
  it('names the entry that was altered', async () => {
    const ids = await sealedTenant('altered');
    for (const [at, change] of [
      [1, `action = 'secret_deleted'`],
      [2, `after = after || '{"name": "other"}'`],
      [3, `create_time = create_time - interval '1 ms'`],
      [4, `before = '{}'`],
    ] as const)
      await sql(`update latchkey.audit_entry set ${change} where tenant_id = $1 and id = $2`, ['altered', ids[at]]);
    const { faults } = await verify('altered');
    expect(faults).toMatchObject([1, 2, 3, 4].map((at) => ({ sequence: at + 1, entryId: ids[at], what: 'altered' })));
  });

  it('names the entry that was removed', async () => {
    const ids = await sealedTenant('removed');
    await sql('delete from latchkey.audit_entry where tenant_id = $1 and id = $2', ['removed', ids[2]]);
    expect((await verify('removed')).faults).toMatchObject([{ sequence: 3, entryId: ids[2], what: 'removed' }]);
  });

  it('names the entry that was inserted, sealed or not', async () => {
    await sealedTenant('inserted');
    const id = newId('aud');
    await sql(INSERT, ['inserted', id]);
    await sealed('inserted');
    const sequence = (await chainOf('inserted')).indexOf(id) + 1;
    const foreign = newAuditId(app().auditKeys, 'altered');
    await sql(INSERT, ['inserted', foreign]);
    await sealed('inserted');
    const unqueued = newAuditId(app().auditKeys, 'inserted');
    await sql(INSERT, ['inserted', unqueued]);
    await sql('delete from latchkey.audit_unsealed where tenant_id = $1', ['inserted']);
    const { faults } = await verify('inserted');
    expect(faults).toMatchObject([
      { sequence, entryId: id, what: 'inserted' },
      { sequence: sequence + 1, entryId: foreign, what: 'inserted' },
      { sequence: null, entryId: unqueued, what: 'inserted' },
    ]);
  });

  it('names entries that were swapped', async () => {
    const ids = await sealedTenant('swapped');
    const swap = 'update latchkey.audit_entry set id = $3 where tenant_id = $1 and id = $2';
    for (const [from, to] of [
      [ids[1], 'aud_'],
      [ids[4], ids[1]],
      ['aud_', ids[4]],
    ])
      await sql(swap, ['swapped', from, to]);
    expect((await verify('swapped')).faults).toMatchObject([
      { sequence: 2, entryId: ids[1], what: 'altered' },
      { sequence: 5, entryId: ids[4], what: 'altered' },
    ]);
  });

  it('is not mended by altering the seals, too', async () => {
    const ids = await sealedTenant('mended');
    const [seal] = await sql<{ first_sequence: string; last_sequence: string }>(
      'select first_sequence, last_sequence from latchkey.audit_seal where tenant_id = $1 and last_sequence > first_sequence limit 1',
      ['mended'],
    );
    const first = Number(seal!.first_sequence);
    const reverse = `update latchkey.audit_seal set entry_ids = array(select u.id from unnest(entry_ids) with ordinality u(id, n) order by n desc),
      entry_hashes = (select string_agg(substring(entry_hashes from (n * 32 + 1) for 32), '' order by n desc) from generate_series(0, cardinality(entry_ids) - 1) n)
      where tenant_id = $1 and first_sequence = $2`;
    await sql(reverse, ['mended', first]);
    expect((await verify('mended')).faults[0]).toMatchObject({ sequence: first + 1, what: 'reordered' });
    await sql(reverse, ['mended', first]);
    expect((await verify('mended')).faults).toEqual([]);

    const forget = `update latchkey.audit_seal set last_sequence = last_sequence - 1, entry_ids = trim_array(entry_ids, 1), entry_hashes = substring(entry_hashes for (cardinality(entry_ids) - 1) * 32)
      where tenant_id = $1 and first_sequence = $2`;
    await sql(forget, ['mended', first]);
    await sql('delete from latchkey.audit_entry where tenant_id = $1 and id = $2', [
      'mended',
      ids[Number(seal!.last_sequence) - 1],
    ]);
    expect((await verify('mended')).faults[0]).toMatchObject({
      sequence: first,
      entryId: ids[first - 1],
      what: 'altered',
    });
  });

  it('shows that seals were taken from the middle, and where they do not follow', async () => {
    await sealedTenant('gap');
    const [gone] = await sql<{ first_sequence: string }>(
      `delete from latchkey.audit_seal where tenant_id = $1 and first_sequence =
         (select first_sequence from latchkey.audit_seal where tenant_id = $1 order by first_sequence offset 1 limit 1) returning first_sequence`,
      ['gap'],
    );
    const sequence = Number(gone!.first_sequence);
    expect((await verify('gap')).faults[0]).toMatchObject({ sequence, what: 'removed' });
    await sql('update latchkey.audit_seal set previous_hash = hash where tenant_id = $1 and first_sequence = 1', [
      'gap',
    ]);
    expect((await verify('gap')).faults[0]).toMatchObject({ sequence: 1, what: 'reordered' });
  });

  it('shows that its end was cut off, by the head that was kept, also when it has grown since', async () => {
    const ids = await sealedTenant('cut');
    const kept = await readHead(app().pool, 'cut');
    expect(kept.sequence).toBe(ids.length);
    const [last] = await sql<{ entry_ids: string[] }>(
      'delete from latchkey.audit_seal where tenant_id = $1 and last_sequence = $2 returning entry_ids',
      ['cut', kept.sequence],
    );
    const orphaned = (await verify('cut')).faults;
    expect(orphaned.map(({ entryId }) => entryId)).toEqual(last!.entry_ids);
    await sql('delete from latchkey.audit_entry where tenant_id = $1 and id = any ($2)', ['cut', last!.entry_ids]);
    expect((await verify('cut')).faults).toEqual([]);
    const cut = (await verify('cut', [kept])).faults;
    expect(cut).toMatchObject([{ sequence: kept.sequence - last!.entry_ids.length + 1, what: 'removed' }]);

    const { secrets } = await server.as('admin', { tenant: 'cut' });
    for (let i = 0; i < 3; i++) await secrets.createSecret({ name: `later${i}`, value: 'v' });
    await sealed('cut');
    const grown = await verify('cut', [kept]);
    expect(grown.faults).toHaveLength(1);
    expect((await verify('cut', [grown.head])).faults).toEqual([]);
  });
});

describe('Several replicas', () => {
  it('seal without a gap or a double while one of them is killed, and the command proves it', async () => {
    const replicas = await Replicas.create();
    try {
      const [one, two] = await Promise.all([replicas.start(), replicas.start()]);
      const acknowledged: string[] = [];
      const write = async (replica: ServerProcess, writer: string) => {
        for (let i = 0; i < 60; i++) {
          const { secret } = await operatorAt(replica).secrets.createSecret({ name: `${writer}-${i}`, value: 'v' });
          acknowledged.push(secret!.id);
        }
      };
      const doomed = Promise.allSettled([write(two, 'c'), write(two, 'd')]);
      const writers = Promise.all([write(one, 'a'), write(one, 'b')]);
      await expect.poll(() => acknowledged.length, { timeout: 20_000, interval: 5 }).toBeGreaterThan(40);
      await two.stop('SIGKILL');
      await Promise.all([writers, doomed]);
      const command = (...args: string[]): Promise<Exit> =>
        ServerProcess.command(replicas.environment, 'audit', ...args).exited;
      const waiting = async () =>
        Number((await replicas.database.sql<{ n: string }>('select count(*) as n from latchkey.audit_unsealed'))[0]!.n);
      await expect.poll(waiting, { timeout: 5_000 }).toBe(0);

      const proven = await command('verify', '--json');
      expect(proven.code, proven.output).toBe(0);
      const reports = JSON.parse(proven.output) as ChainReport[];
      const [total] = await replicas.database.sql<{ n: string }>('select count(*) as n from latchkey.audit_entry');
      expect(reports.reduce((sum, { head }) => sum + head.sequence, 0)).toBe(Number(total!.n));
      const sealedSecrets = await replicas.database.sql<{ resource_id: string }>(
        `select e.resource_id from latchkey.audit_seal s cross join lateral unnest(s.entry_ids) u(id) join latchkey.audit_entry e on e.id = u.id where e.action = 'secret_created'`,
      );
      expect(sealedSecrets.map((row) => row.resource_id)).toEqual(expect.arrayContaining(acknowledged));

      const head = (await command('head')).output.trim();
      expect(head).toMatch(/^\S+:\d+:[0-9a-f]{64}$/);
      expect((await command('verify', '--head', head)).code).toBe(0);
      await replicas.database.sql(`update latchkey.audit_entry set actor_id = 'somebody' where resource_id = $1`, [
        acknowledged[7],
      ]);
      const found = await command('verify');
      expect(found.code).toBe(1);
      expect(found.output).toMatch(/ALTERED at \d+ aud_[0-9a-z]{26}: not what was sealed/);
      const wrong = await command(
        'verify',
        '--head',
        head.replace(/.$/, (digit) => (digit === '0' ? '1' : '0')),
        '--tenant',
        reports[0]!.tenantId,
      );
      expect(wrong.output).toContain('not the chain of which this head was kept');
      expect((await command('verify', '--tenant', 'nobody')).code).toBe(1);
      expect((await command('proof')).code).toBe(2);
    } finally {
      await replicas.stop();
    }
  }, 90_000);
});
