import { Client } from 'pg';
import { StartError } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import { migrateJobQueue } from './job-queue.ts';
import { migrations } from './migrations/index.ts';
import { openOrm } from './orm.ts';

/** Key of the advisory lock that one migrating process holds. */
const LOCK = 0x1a7c4e;
const OLDEST_VERSION = 15;
const NEWEST_VERSION = 18;

/** The migrations of a database by name, in order: those that have run, and those that are due. */
export type Migrations = { executed: string[]; due: string[] };

/** Brings the tables up to date; replicas that start together do it once. Answers what it found. Throws StartError, having changed nothing. */
export function migrate(urls: { url: string; migrationUrl: string }, log: Log): Promise<Migrations> {
  return withDatabase(urls.migrationUrl, log, async (client) => {
    await client.query('select pg_advisory_lock($1)', [LOCK]);
    const found = await findMigrations(client);
    if (found.due.length > 0) {
      await checkRights(client);
      await runMigrations(urls.migrationUrl);
      log.info({ from: found.executed.length, to: migrations.length }, 'the tables are up to date');
    }
    await migrateJobQueue(client, urls.migrationUrl);
    await admitServiceLogin(client, urls);
    return found;
  });
}

/** What `migrate` would do. Throws StartError. */
export function dueMigrations(migrationUrl: string, log: Log): Promise<Migrations> {
  return withDatabase(migrationUrl, log, findMigrations);
}

async function withDatabase<T>(url: string, log: Log, work: (client: Client) => Promise<T>): Promise<T> {
  const client = await connect(url);
  try {
    await checkVersion(client, log);
    return await work(client);
  } finally {
    await client.end();
  }
}

async function findMigrations(client: Client): Promise<Migrations> {
  const executed = await executedMigrations(client);
  refuseNewerSchema(executed);
  const due = migrations.map(({ name }) => name).filter((name) => !executed.includes(name));
  return { executed, due };
}

async function connect(url: string): Promise<Client> {
  const client = new Client({
    connectionString: url,
    application_name: 'latchkey-migrate',
    connectionTimeoutMillis: 5_000,
  });
  client.on('error', () => {});
  try {
    await client.connect();
    return client;
  } catch (error) {
    const { hostname, port, pathname } = new URL(url);
    const why =
      error instanceof Error ? error.message || ('code' in error ? String(error.code) : error.name) : 'unknown';
    throw new StartError(
      `The database cannot be reached: ${hostname}:${port || 5432}${pathname}\n  ${why}\n  Check DATABASE_URL and DATABASE_MIGRATION_URL, and that PostgreSQL runs.`,
    );
  }
}

async function checkVersion(client: Client, log: Log): Promise<void> {
  const { rows } = await client.query<{ version: string }>(`select current_setting('server_version_num') as version`);
  const major = Math.floor(Number(rows[0]!.version) / 10_000);
  if (major < OLDEST_VERSION)
    throw new StartError(`PostgreSQL ${major} is too old: Latchkey needs ${OLDEST_VERSION} to ${NEWEST_VERSION}.`);
  if (major > NEWEST_VERSION)
    log.warn({ version: major }, `Latchkey was tested with PostgreSQL ${OLDEST_VERSION} to ${NEWEST_VERSION}`);
}

async function executedMigrations(client: Client): Promise<string[]> {
  const { rows } = await client.query<{ known: string | null }>(
    `select to_regclass('latchkey.migration')::text as known`,
  );
  if (!rows[0]?.known) return [];
  const executed = await client.query<{ name: string }>('select name from latchkey.migration order by name');
  return executed.rows.map((row) => row.name);
}

function refuseNewerSchema(executed: string[]): void {
  const known = new Set(migrations.map((migration) => migration.name));
  const unknown = executed.filter((name) => !known.has(name));
  if (unknown.length === 0) return;
  throw new StartError(
    `The database was made by a newer Latchkey: this one does not know ${unknown.join(', ')}.\n  Nothing was changed. Start the newer version, or restore a backup.`,
  );
}

async function checkRights(client: Client): Promise<void> {
  const { rows } = await client.query<{ login: string; database: string; create: boolean; roles: boolean }>(`
    select current_user as login, current_database() as database,
      has_database_privilege(current_database(), 'create') as create,
      (select rolsuper or rolcreaterole from pg_roles where rolname = current_user)
        or (select count(*) = 2 from pg_auth_members m join pg_roles r on r.oid = m.roleid
             where r.rolname in ('latchkey_service', 'latchkey_router') and m.admin_option
               and m.member = (select oid from pg_roles where rolname = current_user)) as roles`);
  const { login, database, create, roles } = rows[0]!;
  if (create && roles) return;
  const name = client.escapeIdentifier(login);
  throw new StartError(
    [
      `The login ${login} may not set up the tables. Have a superuser run, in the database ${database}:`,
      ...(roles
        ? []
        : [
            '  CREATE ROLE latchkey_service NOLOGIN;',
            '  CREATE ROLE latchkey_router NOLOGIN;',
            `  GRANT latchkey_service, latchkey_router TO ${name} WITH ADMIN OPTION;`,
          ]),
      ...(create ? [] : [`  GRANT CREATE ON DATABASE ${client.escapeIdentifier(database)} TO ${name};`]),
      'or name a login that may in DATABASE_MIGRATION_URL. Nothing was changed.',
    ].join('\n'),
  );
}

async function runMigrations(url: string): Promise<void> {
  const orm = await openOrm(url, 2);
  try {
    await orm.migrator.up();
  } finally {
    await orm.close();
  }
}

/** Lets the login of DATABASE_URL act as the service's role. */
async function admitServiceLogin(client: Client, { url }: { url: string }): Promise<void> {
  const login = decodeURIComponent(new URL(url).username);
  if (!login) return;
  const { rows } = await client.query<{ exists: boolean; admitted: boolean }>(
    `select exists (select from pg_roles where rolname = $1) as exists,
       exists (select from pg_roles where rolname = $1 and pg_has_role(oid, 'latchkey_service', 'member')) as admitted`,
    [login],
  );
  if (!rows[0]?.exists || rows[0].admitted) return;
  try {
    await client.query(`grant latchkey_service to ${client.escapeIdentifier(login)}`);
  } catch {
    throw new StartError(
      `The login ${login} of DATABASE_URL may not act for the service. Have a superuser run:\n  GRANT latchkey_service TO ${client.escapeIdentifier(login)};`,
    );
  }
}
