import type { Pool } from 'pg';
import { hot } from './hot.ts';

const TENANTS_READ = 1_000;

/** The ids of all tenants that have data keys: not of those that are being erased. */
export async function* tenantIds(pool: Pool): AsyncGenerator<string> {
  for (let after = ''; ; ) {
    const rows = await hot<{ tenant_id: string; state: string }>(pool, 'routeTenants', [after, false, TENANTS_READ, 0]);
    for (const row of rows) if (row.state !== 'ERASING') yield row.tenant_id;
    if (rows.length < TENANTS_READ) return;
    after = rows.at(-1)!.tenant_id;
  }
}
