import type { App } from '../call.ts';
import { changeIn } from '../change.ts';
import type { TENANT_TABLES } from './tenant-tables.ts';

const ROWS_AT_ONCE = 1_000;

/** Deletes a tenant's rows from tables, one after the other, some at a time, until there are none or the time is up. Answers whether there are none. */
export async function deleteRows(
  app: App,
  tenantId: string,
  tables: readonly (typeof TENANT_TABLES)[number][],
  mostMs: number,
): Promise<boolean> {
  const end = performance.now() + mostMs;
  for (const table of tables)
    for (let deleted = ROWS_AT_ONCE; deleted === ROWS_AT_ONCE; ) {
      if (performance.now() > end) return false;
      deleted = await changeIn(app, tenantId, async (em) => {
        const rows = await em.execute<object[]>(
          `delete from latchkey.${table} where tenant_id = ? and ctid = any (array(select ctid from latchkey.${table} where tenant_id = ? limit ?)) returning 1`,
          [tenantId, tenantId, ROWS_AT_ONCE],
        );
        return rows.length;
      });
    }
  return true;
}
