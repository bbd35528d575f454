import { randomBytes } from 'node:crypto';
import { Client } from 'pg';
import { inject } from 'vitest';

/** A database of a test's own. */
export type TestDatabase = {
  /** As the service's login. */
  url: string;
  /** As the superuser, who sees everything. */
  migrationUrl: string;
  /** Runs a statement as the superuser. */
  sql<Row extends object = Record<string, unknown>>(text: string, values?: unknown[]): Promise<Row[]>;
  drop(): Promise<void>;
};

/** A new database: migrated, from the template, or empty. */
export async function createTestDatabase({ empty = false } = {}): Promise<TestDatabase> {
  const postgres = inject('postgres');
  const name = `test_${randomBytes(6).toString('hex')}`;
  await asSuperuser(postgres.migrationUrl, 'postgres', (client) =>
    client.query(empty ? `create database ${name}` : `create database ${name} template latchkey strategy file_copy`),
  );
  const migrationUrl = withDatabase(postgres.migrationUrl, name);
  return {
    url: withDatabase(postgres.url, name),
    migrationUrl,
    sql: (text, values) => asSuperuser(migrationUrl, name, async (client) => (await client.query(text, values)).rows),
    drop: () =>
      asSuperuser(
        postgres.migrationUrl,
        'postgres',
        async (client) => void (await client.query(`drop database ${name} with (force)`)),
      ),
  };
}

export function withDatabase(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}

async function asSuperuser<T>(url: string, database: string, work: (client: Client) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: withDatabase(url, database) });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
