import { StartError } from './base/error.ts';
import type { Log } from './base/log.ts';
import type { Config } from './config.ts';
import { startEmbeddedPostgres } from './db/embedded.ts';
import { migrate } from './db/migrate.ts';
import { masterKeyFile } from './master-key-file.ts';

/** A database with its tables up to date and a master key: what a replica needs to start. */
export type Prepared = {
  config: Config;
  /** What was done, for people. */
  notes: string[];
  /** The file that holds the master key, where it is not given by a setting. */
  masterKeyPath: string | null;
  stop(): Promise<void>;
};

/** Starts the embedded PostgreSQL where no other is named, migrates, and makes a master key where none is given. Throws StartError. */
export async function prepare(config: Config, log: Log): Promise<Prepared> {
  const notes: string[] = [];
  const embedded = config.database.url ? null : await startEmbeddedPostgres(config.dataDir);
  const stop = async () => embedded?.stop();
  try {
    if (embedded) notes.push(`PostgreSQL runs in ${config.dataDir}/postgres, as a part of this process`);
    const database = embedded
      ? { ...config.database, url: embedded.url, migrationUrl: embedded.migrationUrl }
      : config.database;
    await migrate(database, log);
    const file = config.keys.master ? null : masterKeyFile(config.dataDir);
    if (file?.made)
      notes.push(
        `made the master key ${file.path}: keep a copy of it, without it nothing that is sealed can be opened`,
      );
    const keys = { ...config.keys, master: config.keys.master ?? file!.key };
    return { config: { ...config, database, keys }, notes, masterKeyPath: file?.path ?? null, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** What went wrong at the start, for people: a StartError's text, or anything else with its stack. */
export function startFailure(error: unknown): string {
  if (error instanceof StartError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
