import { request as httpRequest, type IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { newAuditId } from '../../src/domain/audit/audit-id.ts';
import { entriesQuery, type Window } from '../../src/domain/audit/entries-query.ts';
import { verifyChain } from '../../src/domain/audit/verify-chain.ts';
import { ServerProcess } from '../harness/process.ts';
import { ADMIN_KEY, ROLE_ENV, TestServer, testEnv } from '../harness/server.ts';

const ENTRIES = 100_000;
const TENANT = 'large';

let server: TestServer;
let admin: string;
beforeAll(async () => {
  server = await TestServer.start({ env: { LOG_LEVEL: 'info' } });
  admin = await server.token('admin', { tenant: TENANT });
  await (await server.as('admin', { tenant: TENANT })).access.getMe({});
  const { auditKeys } = server.replica.app;
  const start = Date.now() - ENTRIES;
  for (let first = 0; first < ENTRIES; first += 5_000) {
    const ids = Array.from({ length: 5_000 }, (_, i) => newAuditId(auditKeys, TENANT, start + first + i));
    await server.database.sql(
      `insert into latchkey.audit_entry (tenant_id, id, actor_kind, actor_id, on_behalf_of, action, resource_type, resource_id, after, request_id, address, create_time)
         select $1, u.id, 'api_key', 'key_' || n % 3, case when n % 1000 = 0 then 'user_rare' else '' end, (array['credentials_read', 'connection_updated', 'secret_created'])[1 + n % 3], 'connection', 'conn_' || n % 100,
           '{"name": "a name of some length, as names are"}', 'r' || n, '127.0.0.1', to_timestamp(($3::float8 + n - 1) / 1000) from unnest($2::text[]) with ordinality u(id, n)`,
      [TENANT, ids, start + first],
    );
  }
  await server.database.sql('analyze latchkey.audit_entry');
});
afterAll(() => server.stop());

type Line = Record<string, unknown> & { id: string; sequence: string };
type End = { after: string; complete: boolean; reason?: string; head?: string };

const authorization = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });
const exportUrl = (query = '') => `${server.httpUrl}/audit/export${query}`;

async function exported(query: string, token = admin): Promise<{ lines: Line[]; end: End }> {
  const response = await fetch(exportUrl(query), authorization(token));
  expect(response.status).toBe(200);
  expect(response.headers.get('content-type')).toBe('application/x-ndjson');
  const all = (await response.text())
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  return { lines: all.slice(0, -1) as Line[], end: all.at(-1) as End };
}

/** An export whose reader does not read until it is told to. */
function opened(port = server.replica.httpPort): Promise<IncomingMessage> {
  const url = `http://127.0.0.1:${port}/audit/export`;
  return new Promise((done, fail) => {
    httpRequest(url, authorization(admin), (response) => done(response.pause()))
      .on('error', fail)
      .end();
  });
}

async function readRest(response: IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of response) text += chunk;
  return text;
}

/** Reads a whole export, which must have each sequence once and in order. */
async function readAll(url: string): Promise<{ count: number; last: string }> {
  const response = await fetch(`${url}/audit/export`, authorization(admin));
  let [count, rest, last] = [0, '', ''];
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop()!;
    for (const line of lines) {
      if (line.includes('"complete"')) last = line;
      else expect(line.includes(`"sequence":"${++count}"`)).toBe(true);
    }
  }
  return { count, last };
}

function anotherReplica(): Promise<ServerProcess> {
  const oidc = { OIDC_ISSUER: server.issuer.url, ...ROLE_ENV };
  return ServerProcess.ready({ ...testEnv(server.database, server.masterKey, oidc), LOG_LEVEL: 'info' });
}

describe('An export of the audit log', () => {
  it(`answers ${ENTRIES} entries in the order of the chain, in bounded memory, itself the last of them`, async () => {
    const other = await anotherReplica();
    const url = `http://127.0.0.1:${other.httpPort}`;
    const memory = async () => {
      const metrics = await (await fetch(`${url}/metrics`)).text();
      return Number(/^process_resident_memory_bytes (\S+)$/m.exec(metrics)![1]) / 1e6;
    };
    // The first one, too, makes the heap as large as it gets.
    await readAll(url);
    const before = await memory();
    let highest = before;
    const watching = setInterval(async () => {
      highest = Math.max(highest, await memory());
    }, 100);
    const { count, last } = await readAll(url);
    clearInterval(watching);
    await other.stop();
    expect(count).toBeGreaterThan(ENTRIES);
    expect(highest - before).toBeLessThan(50);
    const end = JSON.parse(last) as End;
    expect(end).toMatchObject({ complete: true, after: String(count) });
    expect(end.head).toMatch(new RegExp(`^${TENANT}:${count}:[0-9a-f]{64}$`));
  }, 120_000);

  it('speaks as the contract does, from where it is asked to, and goes on where it ended', async () => {
    const { lines, end } = await exported(`?after=${ENTRIES}`);
    const own = lines.at(-1)!;
    expect(own).toMatchObject({
      ...{ action: 'audit_exported', actorKind: 'ACTOR_KIND_USER', resourceType: 'audit', sequence: end.after },
      after: { after_sequence: ENTRIES, filter: {} },
    });
    expect(own.id).toMatch(/^aud_/);
    expect(own.createTime).toMatch(/^\d{4}-.*Z$/);
    const more = await exported(`?after=${end.after}`);
    expect(more.lines.map(({ action }) => action)).toEqual(['audit_exported']);
    expect((await exported('?after=999999999')).end.complete).toBe(true);
  });

  it('takes the filters of ListAuditEntries', async () => {
    expect((await exported('?onBehalfOf=user_rare')).lines).toHaveLength(ENTRIES / 1_000);
    const { lines } = await exported('?action=secret_created&resourceId=conn_7&actorKind=ACTOR_KIND_API_KEY');
    expect(lines.length).toBeGreaterThan(300);
    expect(lines.every((line) => line.action === 'secret_created' && line.resourceId === 'conn_7')).toBe(true);
    const last = lines.at(-1)!;
    const later = await exported(`?action=secret_created&resourceId=conn_7&startTime=${last.createTime}`);
    expect(later.lines.map(({ id }) => id)).toEqual([last.id]);
  });

  it('refuses what it does not understand, and whoever may not', async () => {
    const failure = async (query: string, token: string) => {
      const response = await fetch(exportUrl(query), authorization(token));
      return { status: response.status, ...((await response.json()) as object) };
    };
    for (const query of [
      '?nope=1',
      '?after=-1',
      '?after=1&after=2',
      '?action=DROP',
      '?startTime=noon',
      '?actorKind=9',
      '?pageSize=1',
    ])
      expect(await failure(query, admin), query).toMatchObject({ status: 400, reason: 'FIELD_INVALID' });
    expect(await failure('', 'nonsense')).toMatchObject({ status: 401, reason: 'CREDENTIALS_INVALID' });
    const manager = await server.token('resource_manager', { tenant: TENANT });
    expect(await failure('', manager)).toMatchObject({ status: 403, reason: 'PERMISSION_MISSING' });
    expect((await fetch(exportUrl(), { method: 'POST', ...authorization(admin) })).status).toBe(405);
    expect((await fetch(exportUrl())).status).toBe(401);
  });

  it('shows a tenant its own log alone', async () => {
    const { lines } = await exported('', ADMIN_KEY);
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.some((line) => String(line.resourceId).startsWith('conn_'))).toBe(false);
  });

  it('waits for a slow reader, holding neither transaction nor memory, and lets only two of a tenant be', async () => {
    const [slow, other] = await Promise.all([opened(), opened()]);
    const busy = () =>
      server.database.sql<{ n: string }>(
        `select count(*) as n from pg_stat_activity where datname = current_database() and state = 'idle in transaction'`,
      );
    await expect.poll(async () => (await busy())[0]!.n, { timeout: 5_000 }).toBe('0');
    const refused = await fetch(exportUrl(), authorization(admin));
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('10');
    other.destroy();
    await expect.poll(async () => (await fetch(exportUrl('?after=1000000'), authorization(admin))).status).toBe(200);
    const text = await readRest(slow);
    expect(text.trimEnd().split('\n').length).toBeGreaterThan(ENTRIES);
    expect(JSON.parse(text.trimEnd().split('\n').at(-1)!)).toMatchObject({ complete: true });
    // Whoever left is noted as such, and nothing to be warned of.
    const noted = server.logLines.map((line) => JSON.parse(line)).filter(({ message }) => message === 'export');
    expect(noted).toContainEqual(expect.objectContaining({ level: 30, reason: 'CANCELLED', complete: false }));
  }, 60_000);

  it('can be gone on with after it was aborted, without a gap or a double', async () => {
    const aborted = await opened();
    let text = '';
    for await (const chunk of aborted) {
      text += chunk;
      if (text.length > 1_000_000) break;
    }
    const got = text
      .slice(0, text.lastIndexOf('\n'))
      .split('\n')
      .map((line) => JSON.parse(line) as Line);
    const last = Number(got.at(-1)!.sequence);
    expect(last).toBe(got.length);
    const { lines } = await exported(`?after=${last}&action=credentials_read`);
    expect(lines.every((line) => Number(line.sequence) > last)).toBe(true);
    const before = got.filter((line) => line.action === 'credentials_read').length;
    const [total] = await server.database.sql<{ n: string }>(
      `select count(*) as n from latchkey.audit_entry where tenant_id = $1 and action = 'credentials_read'`,
      [TENANT],
    );
    expect(before + lines.length).toBe(Number(total!.n));
  }, 60_000);
});

describe('A page of the audit log', () => {
  const none = { actorKind: undefined, actorId: '', onBehalfOf: '', action: '', actionPrefix: '', resourceType: '' };
  const filter = { ...none, resourceId: '', requestId: '', startTime: null, endTime: null };
  const window: Window = { order: 'CREATE_TIME_DESC', after: null, skip: 0, limit: 21, examine: 500 };

  /** Pages of the database that a statement touches. */
  async function touched(given: Partial<typeof filter>, at: Partial<Window> = {}): Promise<number> {
    const { sql, params } = entriesQuery(TENANT, { ...filter, ...given }, { ...window, ...at });
    let n = 0;
    const numbered = sql.replace(/\?/g, () => `$${++n}`);
    const [row] = await server.database.sql<{ 'QUERY PLAN': [{ Plan: Record<string, number> }] }>(
      `explain (analyze, buffers, format json) ${numbered}`,
      [...params],
    );
    const plan = row!['QUERY PLAN'][0].Plan;
    return plan['Shared Hit Blocks']! + plan['Shared Read Blocks']!;
  }

  it(`costs the same however many entries there are: at ${ENTRIES}, by each filter and late in the list`, async () => {
    const [middle] = await server.database.sql<{ id: string }>(
      'select id from latchkey.audit_entry where tenant_id = $1 order by id offset 50000 limit 1',
      [TENANT],
    );
    const cases: Partial<typeof filter>[] = [
      {},
      ...[{ actorId: 'key_1' }, { onBehalfOf: 'user_rare' }, { action: 'secret_created' }, { actionPrefix: 'conn' }],
      ...[{ resourceType: 'connection' }, { resourceType: 'absent' }, { resourceId: 'conn_7' }, { requestId: 'r7' }],
      ...[
        { actionPrefix: 'secret_', resourceType: 'connection' },
        { actorId: 'key_1', action: 'absent' },
      ],
    ];
    for (const given of cases) {
      expect(await touched(given), JSON.stringify(given)).toBeLessThan(700);
      expect(await touched(given, { after: middle!.id }), JSON.stringify(given)).toBeLessThan(700);
      expect(await touched(given, { order: 'CREATE_TIME_ASC' }), JSON.stringify(given)).toBeLessThan(700);
    }
  });

  it('is short rather than slow where joined filters find little, and leads on', async () => {
    const { audit } = await server.as('admin', { tenant: TENANT });
    const asked = { actorId: 'key_1', requestId: '', action: 'secret_updated', pageSize: 5 };
    let [pages, pageToken] = [0, ''];
    do {
      const page = await audit.listAuditEntries({ ...asked, pageToken });
      expect(page.entries).toEqual([]);
      pages += 1;
      pageToken = page.nextPageToken;
    } while (pageToken);
    expect(pages).toBe(Math.ceil(ENTRIES / 3 / 10_000));
  });
});

it('proves the chain of all of them', async () => {
  const { pool, auditKeys } = server.replica.app;
  const client = await pool.connect();
  const report = await verifyChain(client, auditKeys, TENANT, []).finally(() => client.release());
  expect(report.faults).toEqual([]);
  expect(report.head.sequence).toBeGreaterThan(ENTRIES);
}, 60_000);

it('ends an export with a line that says where to go on when the server stops', async () => {
  const other = await anotherReplica();
  const slow = await opened(other.httpPort);
  const stopped = other.stop();
  const lines = (await readRest(slow)).trimEnd().split('\n');
  expect((await stopped).code).toBe(0);
  const { after, complete, reason } = JSON.parse(lines.at(-1)!) as End;
  expect({ complete, reason }).toEqual({ complete: false, reason: 'SHUTTING_DOWN' });
  expect(after).toBe((JSON.parse(lines.at(-2)!) as Line).sequence);
});
