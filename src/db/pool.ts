import { Pool, type PoolConfig } from 'pg';
import type { Log } from '../base/log.ts';

/** A pool beside the ordinary one. A connection that it loses is logged in these words, and replaced when one is needed. */
export function openPool(log: Log, lost: string, options: PoolConfig): Pool {
  const pool = new Pool(options);
  const note = (error: Error) => log.warn({ err: error }, lost);
  pool.on('error', note);
  pool.on('connect', (client) => client.on('error', note));
  return pool;
}
