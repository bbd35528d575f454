import { once } from 'node:events';
import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { lastingPool } from '../../src/db/lasting-pool.ts';
import { openPool } from '../../src/db/pool.ts';
import { createTestDatabase } from '../harness/database.ts';
import { TcpProxy } from '../harness/tcp-proxy.ts';

const WITHIN = { timeout: 20_000, interval: 50 };

/** A failure that nobody catches would end the process, and here the test. */
it.each(['fails', 'is done'])(
  'a job that %s while the database is away is written down when it is back',
  async (how) => {
    const database = await createTestDatabase();
    const { hostname, port } = new URL(database.migrationUrl);
    const way = await TcpProxy.to(hostname, Number(port));
    const stopping = new AbortController();
    const log = pino({ level: 'silent' });
    const pool = openPool(log, 'lost', { connectionString: way.through(database.migrationUrl), max: 3 });
    const worked = new EventTarget();
    const runner = await run({
      pgPool: lastingPool(pool, stopping.signal),
      ...{ concurrency: 1, pollInterval: 200, noHandleSignals: true, logger: new Logger(() => () => {}) },
      taskList: {
        work: async () => {
          way.cut();
          worked.dispatchEvent(new Event('worked'));
          if (how === 'fails') throw new Error('the work failed');
        },
      },
    });
    const utils = await makeWorkerUtils({ connectionString: database.migrationUrl });
    const working = once(worked, 'worked');
    const { id } = await utils.addJob('work', {}, { maxAttempts: 2 });
    await working;
    const job = async () =>
      (
        await database.sql('select attempts, last_error, locked_by from graphile_worker._private_jobs where id = $1', [
          id,
        ])
      )[0];
    expect(await job()).toMatchObject({ attempts: 1, last_error: null, locked_by: expect.stringMatching(/./) });
    way.mend();
    const written = how === 'fails' ? { attempts: 1, last_error: 'the work failed', locked_by: null } : undefined;
    await expect.poll(job, WITHIN).toEqual(written);

    await runner.stop();
    stopping.abort();
    await pool.end();
    await utils.release();
    await way.stop();
    await database.drop();
  },
);
