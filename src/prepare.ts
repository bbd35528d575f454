import type { Log } from './base/log.ts';
import type { Config } from './config.ts';
import { startEmbeddedPostgres } from './db/embedded.ts';
import { migrate } from './db/migrate.ts';
import { parseAllowlist, permits } from './egress/allowlist.ts';
import { masterKeyFile } from './master-key-file.ts';
import { SANDBOX_HOST, type Sandbox, startSandbox } from './sandbox/sandbox.ts';

/** A database with its tables up to date and a master key: what a replica needs to start. */
export type Prepared = {
  config: Config;
  /** What was done, for people. */
  notes: string[];
  /** The file that holds the master key, where it is not given by a setting. */
  masterKeyPath: string | null;
  /** Where one runs in this process; it waits to be opened. */
  sandbox: Sandbox | null;
  stop(): Promise<void>;
};

/** Starts the embedded PostgreSQL where no other is named, migrates, makes a master key where none is given, and runs the sandbox. Throws StartError. */
export async function prepare(config: Config, log: Log): Promise<Prepared> {
  const notes: string[] = [];
  const embedded = config.database.url ? null : await startEmbeddedPostgres(config.dataDir);
  let sandbox: Sandbox | null = null;
  const stop = async () => {
    await sandbox?.stop();
    await embedded?.stop();
  };
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
    sandbox = await sandboxFor(config, notes, log);
    const known = { ...config.sandbox, url: sandbox?.url ?? config.sandbox.url };
    return {
      config: { ...config, database, keys, sandbox: known },
      ...{ notes, masterKeyPath: file?.path ?? null, sandbox, stop },
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function sandboxFor({ sandbox, egressAllow }: Config, notes: string[], log: Log): Promise<Sandbox | null> {
  if (!sandbox.on || sandbox.url) return null;
  if (!permits(parseAllowlist(egressAllow), SANDBOX_HOST, SANDBOX_HOST)) {
    const note = `no sandbox: EGRESS_ALLOW lets no call reach ${SANDBOX_HOST}, where it would be`;
    log.warn(note);
    notes.push(note);
    return null;
  }
  const started = await startSandbox(sandbox.port, log);
  notes.push(`a sandbox to connect pretended accounts at runs on ${started.url}; SANDBOX=off turns it off`);
  return started;
}
