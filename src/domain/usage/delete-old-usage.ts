import type { App } from '../call.ts';
import { changeIn } from '../change.ts';

/** Deletes what is older than 90 days. */
export async function deleteOldUsage(app: App, tenantId: string): Promise<void> {
  await changeIn(app, tenantId, (em) =>
    em.execute(
      `delete from latchkey.connection_usage where tenant_id = ? and day < (clock_timestamp() at time zone 'utc')::date - 90`,
      [tenantId],
    ),
  );
}
