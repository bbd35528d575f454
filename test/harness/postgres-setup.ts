import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import type { TestProject } from 'vitest/node';
import { startEmbeddedPostgres } from '../../src/db/embedded.ts';
import { migrate } from '../../src/db/migrate.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** Databases of one PostgreSQL: as the service's login, and as the superuser. */
    postgres: { url: string; migrationUrl: string };
  }
}

/** One real PostgreSQL for the run; its database `latchkey`, migrated, is the template of each test file's own. */
export default async function setup(project: TestProject) {
  const dir = mkdtempSync(join(tmpdir(), 'latchkey-test-'));
  const postgres = await startEmbeddedPostgres(dir);
  const { url, migrationUrl } = postgres;
  await migrate({ url, migrationUrl }, pino({ level: 'silent' }));
  project.provide('postgres', { url, migrationUrl });
  return async () => {
    await postgres.stop();
    rmSync(dir, { recursive: true, force: true });
  };
}
