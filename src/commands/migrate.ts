import { openLog } from '../base/log.ts';
import { readMigrationConfig } from '../config.ts';
import { joinEmbeddedPostgres } from '../db/embedded.ts';
import { dueMigrations, type Migrations, migrate as migrateDatabase } from '../db/migrate.ts';
import { note, print, printJson } from './output.ts';

type Options = { check?: boolean; json?: boolean };

/** Brings the tables up to date and says from what to what; with `check` says what is due, exit code 1 where something is. */
export async function migrate({ check = false, json = false }: Options): Promise<void> {
  const { dataDir, database } = readMigrationConfig();
  const embedded = database.url ? null : await joinEmbeddedPostgres(dataDir, !check);
  const urls = embedded ?? database;
  const { log } = await openLog('silent', false);
  try {
    const found = await dueMigrations(urls.migrationUrl, log);
    if (check) {
      if (found.due.length > 0) process.exitCode = 1;
      report(found, 'due', json);
    } else {
      if (found.due.length > 0) note(`running ${found.due.length} migrations`);
      // What another process ran meanwhile is not ours.
      report(await migrateDatabase(urls, log), 'done', json);
    }
  } finally {
    await embedded?.stop();
  }
}

function report({ executed, due }: Migrations, state: 'due' | 'done', json: boolean): void {
  const from = executed.at(-1) ?? null;
  const to = due.at(-1) ?? from;
  const path = `from ${from ?? 'an empty database'} to ${to}`;
  if (json) printJson({ from, to, [state]: due });
  else if (due.length === 0) print(`Up to date: ${to}.`);
  else print(state === 'due' ? `${due.length} migrations are due, ${path}.` : `Migrated ${path}.`);
}
