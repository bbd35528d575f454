import type { App } from '../call.ts';
import { changeIn } from '../change.ts';

/** Deletes what was noted of callers who took their last turn more than an hour ago: no limit looks back that far. */
export async function deleteOldTurns(app: App, tenantId: string): Promise<void> {
  await changeIn(app, tenantId, (em) =>
    em.execute(
      `delete from latchkey.rate_window where tenant_id = ? and not clock_timestamp() - interval '1 hour' < any (times)`,
      [tenantId],
    ),
  );
}
