import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { migrations } from '../../src/db/migrations/index.ts';
import { bearer } from '../harness/credentials.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { ServerProcess, temporaryFolder } from '../harness/process.ts';
import { ADMIN_KEY, clientsOf, newMasterKey, testEnv, transportTo } from '../harness/server.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

function folder(): string {
  const made = temporaryFolder();
  cleanups.push(made.remove);
  return made.path;
}

async function database(options?: { empty?: boolean }): Promise<TestDatabase> {
  const made = await createTestDatabase(options);
  cleanups.push(made.drop);
  return made;
}

async function started(env: Record<string, string>, shell?: 'sh'): Promise<ServerProcess> {
  const server = shell ? await ServerProcess.readyInShell(env) : await ServerProcess.ready(env);
  cleanups.push(() => server.stop('SIGKILL'));
  return server;
}

/** Ends a server that should not start, and answers what it said. */
async function refused(env: Record<string, string>): Promise<{ code: number | null; output: string }> {
  const server = new ServerProcess(env);
  cleanups.push(() => server.stop('SIGKILL'));
  return server.exited;
}

const clientsTo = (server: ServerProcess, key: string) =>
  clientsOf(transportTo('grpc', server, { authorization: `Bearer ${key}` }));

describe('The first start', () => {
  it('needs nothing: makes database, tables, master key and a key to call with, and says so', async () => {
    const dataDir = join(folder(), 'data');
    const first = await started({ LATCHKEY_DATA_DIR: dataDir });
    expect(first.output).toContain('Latchkey is ready.');
    expect(first.output.match(/curl /g)).toHaveLength(3);
    expect(statSync(join(dataDir, 'master.key')).mode & 0o777).toBe(0o600);
    expect(statSync(join(dataDir, 'postgres.password')).mode & 0o777).toBe(0o600);
    const key = /lk_[0-9a-z]{26}_[A-Za-z0-9_-]{43}/.exec(first.output)![0];
    const clients = clientsTo(first, key);
    const { connection } = await clients.connections.createConnection({ name: 'c', credential: bearer('kept') });

    const second = await refused({ LATCHKEY_DATA_DIR: dataDir });
    expect(second).toMatchObject({ code: 1, output: expect.stringContaining('Another Latchkey uses the data folder') });
    expect(await clients.connections.getCredentials({ connectionId: connection!.id })).toMatchObject({
      headers: [{ value: 'Bearer kept' }],
    });

    const exit = await first.stop('SIGTERM');
    expect(exit.code).toBe(0);
    expect(existsSync(join(dataDir, 'postgres/postmaster.pid'))).toBe(false);
    expect(readFileSync(join(dataDir, 'postgres/server.log'), 'utf8')).toContain('database system is shut down');

    const again = await started({ LATCHKEY_DATA_DIR: dataDir });
    expect(again.output).not.toContain(key);
    const after = await clientsTo(again, key).connections.getCredentials({ connectionId: connection!.id });
    expect(after.headers[0]?.value).toBe('Bearer kept');

    await again.stop('SIGKILL');
    const third = await started({ LATCHKEY_DATA_DIR: dataDir });
    expect(
      (await clientsTo(third, key).connections.getCredentials({ connectionId: connection!.id })).headers[0]?.value,
    ).toBe('Bearer kept');
    expect((await third.stop('SIGINT')).code).toBe(0);

    writeFileSync(join(dataDir, 'master.key'), `${newMasterKey()}\n`);
    const wrongKey = await refused({ LATCHKEY_DATA_DIR: dataDir });
    expect(wrongKey).toMatchObject({ code: 1, output: expect.stringContaining('The master key is not the one') });
    expect(existsSync(join(dataDir, 'postgres/postmaster.pid'))).toBe(false);
  });
});

describe('A server that npm started', () => {
  it('ends with the shell that npm put around it, having stopped PostgreSQL', async () => {
    const dataDir = join(folder(), 'data');
    const server = await started({ LATCHKEY_DATA_DIR: dataDir, npm_lifecycle_event: 'start' }, 'sh');
    server.signal('SIGTERM');
    await expect.poll(() => existsSync(join(dataDir, 'postgres/postmaster.pid')), { timeout: 10_000 }).toBe(false);
    expect(server.output).toContain('the npm that started it is gone');
  });
});

describe('A start that cannot succeed says why and touches nothing', () => {
  const silent = { LOG_LEVEL: 'warn' };

  it('a port in use', async () => {
    const db = await database();
    const blocker = createServer().listen(0, '127.0.0.1');
    cleanups.push(() => blocker.close());
    await new Promise((done) => blocker.once('listening', done));
    const port = String((blocker.address() as { port: number }).port);
    const env = { ...testEnv(db, newMasterKey()), ...silent };
    expect(await refused({ ...env, GRPC_PORT: port })).toMatchObject({
      code: 1,
      output: expect.stringContaining('GRPC_PORT chooses another'),
    });
    expect(await refused({ ...env, HTTP_PORT: port })).toMatchObject({
      code: 1,
      output: expect.stringContaining('HTTP_PORT chooses another'),
    });
  });

  it('a wrong master key', async () => {
    const db = await database();
    const first = await started(testEnv(db, newMasterKey()));
    await first.stop();
    const before = await db.sql('select * from latchkey.installation');
    const wrong = newMasterKey();
    const { code, output } = await refused(testEnv(db, wrong));
    expect(code).toBe(1);
    expect(output).toMatch(/The database needs mk_[0-9a-f]{32}; configured: mk_[0-9a-f]{32}/);
    expect(output).not.toContain(wrong);
    expect(await db.sql('select * from latchkey.installation')).toEqual(before);
  });

  it('a newer schema', async () => {
    const db = await database();
    await db.sql(`insert into latchkey.migration (name, executed_at) values ('9999-from-the-future', now())`);
    expect(await refused(testEnv(db, newMasterKey()))).toMatchObject({
      code: 1,
      output: expect.stringContaining('9999-from-the-future'),
    });
    expect(await db.sql('select * from latchkey.installation')).toEqual([]);
  });

  it('a database that is not there', async () => {
    const url = 'postgresql://nobody@127.0.0.1:1/none';
    const { code, output } = await refused(testEnv({ url, migrationUrl: url }, newMasterKey()));
    expect(code).toBe(1);
    expect(output).toContain('The database cannot be reached: 127.0.0.1:1/none');
  });

  it('a login without the rights, with the SQL that gives them', async () => {
    const db = await database({ empty: true });
    await db.sql(
      `do $$ begin create role weak login password 'weak'; exception when duplicate_object then null; end $$`,
    );
    const weak = new URL(db.migrationUrl);
    weak.username = 'weak';
    weak.password = 'weak';
    const { code, output } = await refused(testEnv({ url: weak.href, migrationUrl: weak.href }, newMasterKey()));
    expect(code).toBe(1);
    expect(output).toContain('GRANT CREATE ON DATABASE');
    expect(output).toContain('GRANT latchkey_service, latchkey_router TO "weak" WITH ADMIN OPTION;');
    expect(await db.sql(`select 1 from pg_namespace where nspname = 'latchkey'`)).toEqual([]);
    for (const statement of output.match(/^ {2}(CREATE|GRANT) [^;]*;/gm) ?? []) {
      await db.sql(statement).catch((error: Error) => expect(error.message).toContain('already exists'));
    }
    const server = await started(testEnv({ url: weak.href, migrationUrl: weak.href }, newMasterKey()));
    const { connection } = await clientsTo(server, ADMIN_KEY).connections.createConnection({
      name: 'c',
      credential: bearer('t'),
    });
    expect(
      (await clientsTo(server, ADMIN_KEY).connections.getCredentials({ connectionId: connection!.id })).headers,
    ).toHaveLength(1);
  });

  it('production without its settings, all named at once', async () => {
    const { code, output } = await refused({ NODE_ENV: 'production' });
    expect(code).toBe(1);
    for (const name of ['DATABASE_URL', 'LATCHKEY_MASTER_KEY', 'OIDC_ISSUER or LATCHKEY_ADMIN_KEY'])
      expect(output).toContain(name);
  });
});

describe('Replicas that start together', () => {
  it('migrate once and found one installation', async () => {
    const db = await database({ empty: true });
    const masterKey = newMasterKey();
    const servers = await Promise.all([1, 2, 3].map(() => started(testEnv(db, masterKey))));
    expect(await db.sql('select name from latchkey.migration')).toHaveLength(migrations.length);
    expect(await db.sql('select * from latchkey.installation')).toHaveLength(1);
    const { connection } = await clientsTo(servers[0]!, ADMIN_KEY).connections.createConnection({
      name: 'c',
      credential: bearer('t'),
    });
    for (const server of servers) {
      expect(
        (await clientsTo(server, ADMIN_KEY).connections.getCredentials({ connectionId: connection!.id })).headers,
      ).toHaveLength(1);
    }
    const exits = await Promise.all(servers.map((server) => server.stop()));
    expect(exits.map((exit) => exit.code)).toEqual([0, 0, 0]);
    expect(await db.sql('select * from latchkey.replica')).toEqual([]);
  });
});

describe('WORKERS', () => {
  it('run as processes on the same ports, are replaced when they die, and answer metrics of all', async () => {
    const db = await database();
    const server = await started({ ...testEnv(db, newMasterKey()), WORKERS: '2' });
    const call = () => clientsTo(server, ADMIN_KEY).access.getMe({});
    const calls = 12;
    for (let i = 0; i < calls; i++) expect((await call()).tenantId).toBe('default');
    const pids = new Set((await db.sql<{ id: string }>('select id from latchkey.replica')).map((row) => row.id));
    expect(pids.size).toBe(2);
    const metrics = await (await fetch(`http://127.0.0.1:${server.httpPort}/metrics`)).text();
    expect(metrics).toMatch(new RegExp(`grpc_server_handled_total\\{[^}]*GetMe[^}]*\\} ${calls}`));
    const { execFileSync } = await import('node:child_process');
    const [worker] = execFileSync('pgrep', ['-P', String(server.child.pid)])
      .toString()
      .trim()
      .split('\n');
    process.kill(Number(worker), 'SIGKILL');
    await server.says(/a worker died/);
    await expect
      .poll(async () => (await db.sql('select id from latchkey.replica')).length, { timeout: 15_000 })
      .toBe(3);
    expect((await call()).tenantId).toBe('default');
    expect((await server.stop()).code).toBe(0);
  });
});
