import { Pool } from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { newId } from '../../src/base/id.ts';
import { createMetrics } from '../../src/base/metrics.ts';
import { ReadAuditWriter } from '../../src/jobs/read-audit.ts';
import type { ReadEntry } from '../../src/model/audit-entry.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';

let database: TestDatabase;
let pool: Pool;
beforeAll(async () => {
  database = await createTestDatabase();
  pool = new Pool({ connectionString: database.url });
  await database.sql(
    `insert into latchkey.tenant (tenant_id, display_name, create_time) select id, id, now() from unnest('{tenant-0,tenant-1,tenant-2,used}'::text[]) id`,
  );
});
afterAll(async () => {
  await pool.end();
  await database.drop();
});

const entry = (tenantId: string): ReadEntry => ({
  ...{ tenantId, id: newId('aud'), actorKind: 'api_key', actorId: 'key', onBehalfOf: '', action: 'credentials_read' },
  ...{ resourceType: 'connection', resourceId: 'conn', requestId: 'r', address: '', time: Date.now() },
});

/** The pool, but for answers to one statement that are lost after it took effect. */
function losing(statement: string, times: number): Pool {
  let left = times;
  const query = async (config: { name: string; text: string; values: unknown[] }) => {
    const result = await pool.query(config);
    if (config.name === statement && left-- > 0) throw new Error('Connection terminated unexpectedly');
    return result;
  };
  return { query } as unknown as Pool;
}

const countOf = async (tenantId: string) =>
  Number(
    (
      await database.sql<{ n: string }>('select count(*) as n from latchkey.audit_entry where tenant_id = $1', [
        tenantId,
      ])
    )[0]?.n,
  );

it('writes every entry once, though answers are lost and more entries come meanwhile', async () => {
  const writer = new ReadAuditWriter('batched', losing('appendAudit', 2), pino({ level: 'silent' }), createMetrics());
  let recorded = 0;
  const record = () => {
    try {
      void writer.record(entry(`tenant-${recorded % 3}`));
      recorded += 1;
      return true;
    } catch {
      return false;
    }
  };
  for (let i = 0; i < 50; i++) record();
  await expect.poll(record, { timeout: 5_000, interval: 10 }).toBe(false);
  await expect.poll(record, { timeout: 5_000, interval: 10 }).toBe(true);
  for (let i = 0; i < 50; i++) record();
  await writer.stop();
  const written = await Promise.all([0, 1, 2].map((n) => countOf(`tenant-${n}`)));
  expect(written.reduce((sum, n) => sum + n, 0)).toBe(recorded);
});

it('goes on when the use of a connection could not be noted', async () => {
  const writer = new ReadAuditWriter('batched', losing('markUsed', 1), pino({ level: 'silent' }), createMetrics());
  void writer.record(entry('used'));
  writer.used('used', 'conn');
  await expect.poll(() => countOf('used'), { timeout: 5_000 }).toBe(1);
  void writer.record(entry('used'));
  await writer.stop();
  expect(await countOf('used')).toBe(2);
});
