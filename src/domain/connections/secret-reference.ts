import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import type { Call } from '../call.ts';

/** Who has a named secret used in a place of their choice can have its value handed out: that takes a permission of its own. */
export function refuseUnlessMayUseSecrets({ principal }: Call): void {
  if (principal.permissions.has('secret:use')) return;
  throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: 'secret:use' } });
}

/** The secret of that name in a connection's project or, failing that, of the whole tenant. Fails with SECRET_MISSING. */
export async function secretIdOf(
  em: Em,
  { tenantId, projectId }: { tenantId: string; projectId: string | null },
  field: string,
  name: string,
): Promise<string> {
  const [found] = await em.execute<{ id: string }[]>(
    `select id from latchkey.secret where tenant_id = ? and name = ? and (project_id is null or project_id = ?)
     order by project_id nulls last limit 1 for key share`,
    [tenantId, name, projectId],
  );
  if (!found) throw new LatchkeyError('SECRET_MISSING', { metadata: { name, field } });
  return found.id;
}
