import { Migrator } from '@mikro-orm/migrations';
import { MikroORM, type Options } from '@mikro-orm/postgresql';
import type { Pool, PoolClient } from 'pg';
import { entities } from '../model/index.ts';
import { migrations } from './migrations/index.ts';

export type Orm = MikroORM;

const CONNECT_TIMEOUT_MS = 5_000;
const QUERY_TIMEOUT_MS = 30_000;
const GIVE_BACK_MS = 500;

function options(url: string, poolSize: number): Options {
  return {
    entities,
    clientUrl: url,
    // Given whole as well, for the parts that MikroORM's own parser drops (sslmode and the like).
    driverOptions: {
      connectionString: url,
      application_name: 'latchkey',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      query_timeout: QUERY_TIMEOUT_MS,
      keepAlive: true,
      onPoolCreated: giveBackLost,
    },
    schema: 'latchkey',
    pool: { min: 0, max: poolSize },
    ensureDatabase: false,
    discovery: { warnWhenNoEntities: false },
    extensions: [Migrator],
    migrations: {
      tableName: 'migration',
      migrationsList: migrations,
      snapshot: false,
      disableForeignKeys: false,
      silent: true,
    },
  };
}

/** A transaction whose connection was lost cannot be rolled back, and then its driver (Kysely 0.29) keeps the pool's place: it is given back here. */
function giveBackLost(pool: Pool): void {
  pool.on('connect', (client: PoolClient) => {
    client.once('end', () => setTimeout(() => giveBack(client), GIVE_BACK_MS).unref());
  });
}

function giveBack(client: PoolClient): void {
  try {
    client.release(true);
  } catch {
    // It was given back before, as it should be.
  }
}

/** The database as the service's login sees it. */
export async function openOrm(url: string, poolSize: number): Promise<Orm> {
  return MikroORM.init(options(url, poolSize));
}

/** The pool beneath, for the hot path's prepared statements. */
export async function poolOf(orm: Orm): Promise<Pool> {
  return orm.em.getConnection().getNativeClient() as Promise<Pool>;
}
