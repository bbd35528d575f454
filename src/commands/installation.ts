import type { Pool } from 'pg';
import { type Config, readConfig } from '../config.ts';
import { MasterKeys } from '../crypto/master-keys.ts';
import { joinEmbeddedPostgres } from '../db/embedded.ts';
import { type Orm, openOrm, poolOf } from '../db/orm.ts';
import { masterKeyFile } from '../master-key-file.ts';

/** What the servers work on, for a tool beside them. */
export type Place = { config: Config; databaseUrl: string; masterKeys: MasterKeys };

/** Runs `work` with the database and the master keys that the servers' settings name. Throws StartError. */
export async function besideServers<T>(work: (place: Place) => Promise<T>): Promise<T> {
  const config = readConfig();
  const embedded = config.database.url ? null : await joinEmbeddedPostgres(config.dataDir);
  try {
    const master = config.keys.master ?? masterKeyFile(config.dataDir).key;
    const masterKeys = new MasterKeys(master, config.keys.previousMaster);
    return await work({ config, databaseUrl: embedded?.url ?? config.database.url, masterKeys });
  } finally {
    await embedded?.stop();
  }
}

/** Runs `work` with the database as the service's login sees it, and the pool beneath. */
export async function withOrm<T>(databaseUrl: string, work: (orm: Orm, pool: Pool) => Promise<T>): Promise<T> {
  const orm = await openOrm(databaseUrl, 4);
  const pool = await poolOf(orm);
  try {
    return await work(orm, pool);
  } finally {
    await orm.close();
    // Where the pool alone was used, MikroORM leaves it open.
    if (!pool.ended) await pool.end();
  }
}
