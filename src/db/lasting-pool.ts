import { setTimeout as pause } from 'node:timers/promises';
import type { Pool, PoolClient, QueryConfig } from 'pg';
import { isDatabaseUnavailable } from './errors.ts';

const AGAIN_MS = 1_000;
/** After an error with this code graphile-worker tries again (RETRYABLE_ERROR_CODES in its lib.js). */
const RETRIED_CODE = 'EHOSTUNREACH';

/**
 * A pool for graphile-worker, which does not catch what goes wrong when it writes down how a job ended (0.18), so that a lost connection would end the process. Here a
 * connection is waited for as long as the database is away, for ever once `signal` is aborted, and what a lost one was to do is tried again by graphile-worker itself.
 */
export function lastingPool(pool: Pool, signal: AbortSignal): Pool {
  // Who listens for new jobs asks by a callback, and knows how to go on.
  const either = (callback?: Parameters<Pool['connect']>[0]) =>
    callback ? pool.connect(callback) : connect(pool, signal);
  return standIn(pool, { connect: either });
}

async function connect(pool: Pool, signal: AbortSignal): Promise<PoolClient> {
  for (;;) {
    try {
      const client = await pool.connect();
      const query = (...args: [string | QueryConfig, unknown[]?]) => client.query(...args).catch(fail);
      return standIn(client, { query });
    } catch (error) {
      if (!signal.aborted && !isDatabaseUnavailable(error)) throw error;
    }
    await pause(AGAIN_MS, undefined, { ref: false });
    if (signal.aborted) await new Promise(() => {});
  }
}

function fail(error: unknown): never {
  throw isDatabaseUnavailable(error) ? retried(error) : error;
}

function retried(cause: unknown): Error {
  return Object.assign(new Error('the database is away', { cause }), { code: RETRIED_CODE });
}

/** An object that does these things in a way of its own, and the rest as the other does. */
function standIn<T extends object>(other: T, own: Partial<Record<keyof T, unknown>>): T {
  return new Proxy(other, {
    get(target, name) {
      const value: unknown = name in own ? own[name as keyof T] : Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
