import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import type { Call } from '../call.ts';

/**
 * For who has just added a connection: the tenant's count is theirs until the transaction ends, so that of any number at once only as many stay as there may be.
 * For who will add `more` later it is a look alone.
 * Fails with CONNECTION_LIMIT_REACHED.
 */
export async function refuseOverLimit(em: Em, { app, principal }: Call, more = 0): Promise<void> {
  const [row] = await em.execute<{ connections: string; own: string | null }[]>(
    `select coalesce(n.connections, 0) as connections, t.limits ->> 'max_connections' as own
       from latchkey.tenant t left join latchkey.connection_count n on n.tenant_id = t.tenant_id where t.tenant_id = ?`,
    [principal.tenantId],
  );
  const { connections, own } = row!;
  const limit = own === null ? app.config.maxConnectionsPerTenant : Number(own);
  if (limit > 0 && Number(connections) + more > limit)
    throw new LatchkeyError('CONNECTION_LIMIT_REACHED', { metadata: { limit: String(limit) } });
}
