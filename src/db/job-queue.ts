import { Logger, runMigrations } from 'graphile-worker';
import type { Client } from 'pg';

/** graphile-worker speaks through this; what it says at the start is not news. */
const silent = new Logger(() => () => {});

/**
 * Makes the tables of the job queue, or brings them up to date, and opens them to the service's role: they have row-level security without
 * policies, under which another role than the owner would find no jobs.
 */
export async function migrateJobQueue(client: Client, migrationUrl: string): Promise<void> {
  await runMigrations({ connectionString: migrationUrl, logger: silent });
  const { rows } = await client.query<{ name: string; open: boolean }>(
    `select c.relname as name, exists (select from pg_policy p where p.polrelid = c.oid and p.polname = 'latchkey_service') as open
     from pg_class c where c.relnamespace = 'graphile_worker'::regnamespace and c.relkind = 'r' and c.relrowsecurity`,
  );
  const policies = rows
    .filter(({ open }) => !open)
    .map(
      ({ name }) =>
        `create policy latchkey_service on graphile_worker.${client.escapeIdentifier(name)} to latchkey_service using (true) with check (true);`,
    );
  await client.query(`
    ${policies.join('\n')}
    grant usage on schema graphile_worker to latchkey_service;
    grant select, insert, update, delete on all tables in schema graphile_worker to latchkey_service;
    grant usage, select on all sequences in schema graphile_worker to latchkey_service;
    grant execute on all functions in schema graphile_worker to latchkey_service;`);
}
