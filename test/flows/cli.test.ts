import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { migrations } from '../../src/db/migrations/index.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { type Exit, ServerProcess, temporaryFolder } from '../harness/process.ts';
import { ADMIN_KEY, clientsOf, newMasterKey, testEnv, transportTo } from '../harness/server.ts';

const ROOT = resolve(import.meta.dirname, '../..');
const LAST = migrations.at(-1)!.name;

function majorOf(node: string): number {
  return Number(execFileSync(node, ['-p', 'process.versions.node.split(".")[0]'], { encoding: 'utf8' }));
}

/** A Node.js of the system's that cannot run the commands itself. */
const oldNode = ['/usr/bin/node', '/usr/local/bin/node'].find((path) => existsSync(path) && majorOf(path) < 24);

function launch(env: Record<string, string>, args: string[], node = process.execPath): ServerProcess {
  return new ServerProcess(env, 'src/latchkey.js', args, [node]);
}

function latchkey(env: Record<string, string>, ...args: string[]): Promise<Exit> {
  return launch(env, args).exited;
}

const folder = temporaryFolder();
let database: TestDatabase;
let env: Record<string, string>;
let server: ServerProcess;
beforeAll(async () => {
  database = await createTestDatabase();
  env = testEnv(database, newMasterKey());
  server = await ServerProcess.ready(env);
});
afterAll(async () => {
  await server.stop();
  await database.drop();
  folder.remove();
});

const COMMANDS = [
  ...['serve', 'migrate', 'keys status', 'keys rotate', 'apikey create', 'audit verify', 'audit head'],
  ...['import', 'demo'],
];

describe('latchkey', () => {
  it.each(COMMANDS)('%s says what it is, with examples', async (command) => {
    const { code, stdout } = await latchkey({}, ...command.split(' '), '--help');
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: latchkey ${command}`);
    expect(stdout).toMatch(/\nExamples:\n {2}.*latchkey /);
    expect(stdout).toMatch(/\nEnvironment:\n|same settings as the server/);
  });

  it('lists its commands, and says its version', async () => {
    const { code, stdout } = await latchkey({}, '--help');
    expect(code).toBe(0);
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${command.split(' ')[0]} `, 'm'));
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    expect(await latchkey({}, '--version')).toMatchObject({ code: 0, stdout: `${version}\n` });
  });

  it.each([
    [['serv'], 'Did you mean serve?'],
    [['keys', 'rotat'], 'Did you mean rotate?'],
    [['audit', 'proof'], "unknown command 'proof'"],
    [['migrate', '--chek'], 'Did you mean --check?'],
    [['import'], "missing required argument 'file'"],
    [['serve', 'now'], 'too many arguments'],
    [['apikey', 'create', '--name', 'x'], "required option '--scopes <scopes>' not specified"],
    [['apikey', 'create', '--name', 'x', '--scopes', '*', '--expires', 'soon'], 'It is as 90d'],
    [['apikey', 'create', '--name', 'a\tb', '--scopes', '*'], 'control character'],
    [['audit', 'verify', '--head', 'x'], 'x is no head'],
    [[], 'Usage: latchkey'],
    [['keys'], 'Usage: latchkey keys'],
  ])('ends with 2 where it is called wrongly: %j', async (args, said) => {
    const { code, output, stdout } = await latchkey({}, ...args);
    expect(output).toContain(said);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });

  it('sets the flags of npm start, as the image does', () => {
    const { scripts, bin } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    const flags: string[] = scripts.start.match(/--\S+/g);
    const launcher = readFileSync(join(ROOT, bin.latchkey), 'utf8');
    expect(launcher).toContain(`const FLAGS = [${flags.map((flag) => `'${flag}'`).join(', ')}];`);
    expect(readFileSync(join(ROOT, 'Dockerfile'), 'utf8')).toContain(`exec ${scripts.start.replace(' serve', '')}`);
  });
});

describe('latchkey under an old Node.js', () => {
  it.skipIf(!oldNode)(
    'runs the one that came as a package (skipped where no Node.js before 24 is installed)',
    async () => {
      const { code, stdout } = await launch(env, ['keys', 'status', '--json'], oldNode).exited;
      expect(code).toBe(0);
      expect(JSON.parse(stdout).replicas).toHaveLength(1);
      expect(await launch({}, ['nothing'], oldNode).exited).toMatchObject({ code: 2 });
    },
  );

  it.skipIf(!oldNode)('says what is missing where that package is (skipped as above)', async () => {
    const copy = join(folder.path, 'latchkey.mjs');
    writeFileSync(copy, readFileSync(join(ROOT, 'src/latchkey.js')));
    const { code, output } = await new ServerProcess({}, copy, ['serve'], [oldNode!]).exited;
    expect(code).toBe(1);
    expect(output).toMatch(/needs Node.js 24 or later, and runs under \d+\./);
    expect(output).toMatch(
      /The package node-\S+, which brings one, is not installed: run `npm ci`|None comes as a package/,
    );
  });
});

describe('latchkey serve', () => {
  it('serves until SIGTERM, and ends with 0', async () => {
    const served = await launch(env, ['serve'], oldNode).ready();
    const clients = clientsOf(transportTo('grpc', served, { authorization: `Bearer ${ADMIN_KEY}` }));
    expect((await clients.access.getMe({})).tenantId).toBe('default');
    expect(await served.stop('SIGTERM')).toMatchObject({ code: 0, output: expect.stringContaining('"stopping"') });
  });

  it('ends with the launcher, also where that is killed', async () => {
    const served = await launch(env, ['serve']).ready();
    served.signal('SIGKILL');
    const gone = () =>
      fetch(`http://127.0.0.1:${served.httpPort}/healthz`).then(
        () => false,
        () => true,
      );
    await expect.poll(gone, { timeout: 10_000 }).toBe(true);
    await served.exited;
  });

  it('ends with 1 where it cannot start', async () => {
    const { code, output } = await latchkey({ NODE_ENV: 'production' }, 'serve');
    expect(code).toBe(1);
    expect(output).toContain('DATABASE_URL is required in production');
  });
});

describe('latchkey migrate', () => {
  it('says what is due, does it, and says from what to what', async () => {
    const empty = await createTestDatabase({ empty: true });
    try {
      // Neither a master key nor a caller is needed for it, not even in production.
      const own = { NODE_ENV: 'production', DATABASE_URL: empty.url, DATABASE_MIGRATION_URL: empty.migrationUrl };
      const due = await latchkey(own, 'migrate', '--check', '--json');
      expect(due.code).toBe(1);
      expect(JSON.parse(due.stdout)).toEqual({ from: null, to: LAST, due: migrations.map(({ name }) => name) });
      expect(await empty.sql(`select 1 from pg_namespace where nspname = 'latchkey'`)).toEqual([]);
      const done = await latchkey(own, 'migrate');
      expect(done).toMatchObject({ code: 0, stdout: `Migrated from an empty database to ${LAST}.\n` });
      expect(await latchkey(own, 'migrate', '--check')).toMatchObject({ code: 0, stdout: `Up to date: ${LAST}.\n` });
      const again = await latchkey(own, 'migrate', '--json');
      expect(JSON.parse(again.stdout)).toEqual({ from: LAST, to: LAST, done: [] });
      await empty.sql(`insert into latchkey.migration (name, executed_at) values ('9999-from-the-future', now())`);
      expect(await latchkey(own, 'migrate')).toMatchObject({
        ...{ code: 1, stdout: '', output: expect.stringContaining('9999-from-the-future') },
      });
    } finally {
      await empty.drop();
    }
  });

  it('makes an embedded database, or joins the one that a server runs', async () => {
    const own = { LATCHKEY_DATA_DIR: join(folder.path, 'data') };
    expect(await latchkey(own, 'migrate', '--check')).toMatchObject({
      ...{ code: 1, output: expect.stringContaining('There is no database') },
    });
    expect(await latchkey(own, 'migrate')).toMatchObject({ code: 0, stdout: expect.stringContaining(`to ${LAST}`) });
    expect(existsSync(join(folder.path, 'data/postgres/postmaster.pid'))).toBe(false);
    const served = await launch(own, ['serve']).ready();
    expect(await latchkey(own, 'migrate')).toMatchObject({ code: 0, stdout: `Up to date: ${LAST}.\n` });
    expect((await served.stop()).code).toBe(0);
  });

  it('says so where there is no database', async () => {
    const { code, output } = await latchkey({ DATABASE_URL: 'postgresql://nobody@127.0.0.1:1/none' }, 'migrate');
    expect(code).toBe(1);
    expect(output).toContain('The database cannot be reached: 127.0.0.1:1/none');
    expect(output).not.toContain('    at ');
  });
});

describe('latchkey apikey create', () => {
  const create = (...args: string[]) => latchkey(env, 'apikey', 'create', ...args);
  const clientsWith = (key: string) => clientsOf(transportTo('grpc', server, { authorization: `Bearer ${key}` }));

  it('prints a key, and nothing else on standard output, that a running server takes; it is audited', async () => {
    const { code, stdout, output } = await create(
      ...['--name', 'ci', '--scopes', 'connection:read,secret:*', '--scopes', 'event:read', '--project', 'p1'],
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^lk_[0-9a-z]{26}_[A-Za-z0-9_-]{43}\n$/);
    const { apiKey, permissions, projectIds } = await clientsWith(stdout.trim()).access.getMe({});
    expect(permissions).toEqual(['connection:read', 'event:read', 'secret:manage', 'secret:read', 'secret:use']);
    expect([apiKey!.displayName, projectIds]).toEqual(['ci', ['p1']]);
    expect(output).toContain(`Made ${apiKey!.id} in the tenant default`);
    const { entries } = await clientsWith(ADMIN_KEY).audit.listAuditEntries({ resourceId: apiKey!.id });
    expect(entries.map(({ action, actorId }) => [action, actorId])).toEqual([['api_key_created', '']]);
    const proof = await latchkey(env, 'audit', 'verify', '--json');
    expect([proof.code, JSON.parse(proof.stdout)[0].faults]).toEqual([0, []]);
  });

  it('makes one for another tenant, with an end, as JSON', async () => {
    await clientsWith(ADMIN_KEY).access.createTenant({ tenantId: 'acme', displayName: '' });
    const { code, stdout } = await create(
      ...['--tenant', 'acme', '--name', 'all', '--scopes', '*', '--expires', '90d', '--json'],
    );
    expect(code).toBe(0);
    const made = JSON.parse(stdout);
    expect(Date.parse(made.expireTime) - Date.now()).toBeGreaterThan(89 * 86_400_000);
    const me = await clientsWith(made.key).access.getMe({});
    expect([me.tenantId, me.apiKey!.id]).toEqual(['acme', made.id]);
    expect(me.permissions).not.toContain('tenant:manage');
  });

  it.each([
    [['--tenant', 'nobody', '--scopes', '*'], /^TENANT_NOT_FOUND: .*tenant_id nobody\n$/],
    [['--scopes', 'connection:read,connection:fly'], /there is no permission connection:fly\n$/],
    [['--scopes', 'tenant:manage'], /belongs to the operator/],
    [['--scopes', ','], /names no permission/],
    [['--scopes', '*', '--expires', '2020-01-01'], /expire_time must be in the future/],
  ])('refuses what cannot be: %j', async (args, said) => {
    const { code, stdout, output } = await create('--name', 'x', ...args);
    expect(output).toMatch(said);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  });

  it('needs the master key of the database', async () => {
    const wrong = { ...env, LATCHKEY_MASTER_KEY: newMasterKey() };
    expect(await latchkey(wrong, 'apikey', 'create', '--name', 'x', '--scopes', '*')).toMatchObject({
      ...{ code: 1, stdout: '', output: expect.stringContaining('The master key is not the one') },
    });
  });
});

describe('latchkey keys, audit, import and demo', () => {
  it('say for people what --json says for programs', async () => {
    const status = await latchkey(env, 'keys', 'status');
    const { inForce, replicas } = JSON.parse((await latchkey(env, 'keys', 'status', '--json')).stdout);
    expect(status.stdout).toContain(`In force      ${inForce}\n`);
    expect(status.stdout).toContain(`Replica       ${replicas[0].id} knows ${inForce}`);
    const heads = JSON.parse((await latchkey(env, 'audit', 'head', '--json')).stdout);
    const head = (await latchkey(env, 'audit', 'head', '--tenant', 'default')).stdout.trim();
    const { tenantId, sequence, hash } = heads.find((one: { tenantId: string }) => one.tenantId === 'default');
    expect(head).toBe(`${tenantId}:${sequence}:${hash}`);
    expect(await latchkey(env, 'audit', 'verify', '--head', head)).toMatchObject({
      ...{ code: 0, stdout: expect.stringContaining('none amiss') },
    });
  });

  it('rotates the master key, and keeps what it says of that from the JSON', async () => {
    const own = await createTestDatabase();
    try {
      const [old, current] = [newMasterKey(), newMasterKey()];
      const first = await ServerProcess.ready(testEnv(own, old));
      await first.stop();
      const both = { ...testEnv(own, current), LATCHKEY_PREVIOUS_MASTER_KEY: old };
      const alone = await latchkey(testEnv(own, current), 'keys', 'rotate');
      expect(alone).toMatchObject({ code: 1, stdout: '' });
      const { code, stdout, output } = await latchkey(both, 'keys', 'rotate', '--json');
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ tenants: 1, broken: [] });
      expect(output).toContain('1 tenants have a new data key');
    } finally {
      await own.drop();
    }
  });

  it('import says what is wrong with its file, and sends it to a server', async () => {
    const path = join(folder.path, 'connections.json');
    const own = { LATCHKEY_URL: `http://127.0.0.1:${server.httpPort}`, LATCHKEY_KEY: ADMIN_KEY };
    writeFileSync(path, '{');
    expect(await latchkey(own, 'import', path)).toMatchObject({ code: 1, output: `${path} is not JSON.\n` });
    expect(await latchkey(own, 'import', `${path}.none`)).toMatchObject({ code: 1, stdout: '' });
    const document = { name: 'from-cli', type: 'bearer', authConfig: { tokenRef: 't' }, secrets: { t: 'hush' } };
    writeFileSync(path, JSON.stringify([document]));
    const { code, stdout } = await latchkey(own, 'import', path, '--json');
    expect([code, JSON.parse(stdout).rows[0].name]).toEqual([0, 'from-cli']);
    expect(stdout).not.toContain('hush');
  });

  it('demo answers what it made', async () => {
    const served = await ServerProcess.ready({ ...env, SANDBOX_PORT: '0' });
    const own = { LATCHKEY_URL: `http://localhost:${served.httpPort}`, LATCHKEY_KEY: ADMIN_KEY };
    const { code, stdout, output } = await latchkey(own, 'demo', '--json');
    expect(code, output).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      ...{ connectionId: expect.stringMatching(/^conn_/), identity: { email: 'ada@example.com' } },
    });
    expect((await served.stop()).code).toBe(0);
  });
});
