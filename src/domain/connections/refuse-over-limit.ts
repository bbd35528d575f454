import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import type { Call } from '../call.ts';

/**
 * For who has just added a connection: the tenant's count is theirs until the transaction ends, so that of any number at once only as many stay as there may be.
 * Fails with CONNECTION_LIMIT_REACHED.
 */
export async function refuseOverLimit(em: Em, { app, principal }: Call): Promise<void> {
  const [row] = await em.execute<{ connections: string; own: string | null }[]>(
    `select n.connections, t.limits ->> 'max_connections' as own
       from latchkey.connection_count n join latchkey.tenant t on t.tenant_id = n.tenant_id where n.tenant_id = ?`,
    [principal.tenantId],
  );
  const { connections, own } = row!;
  const limit = own === null ? app.config.maxConnectionsPerTenant : Number(own);
  if (limit > 0 && Number(connections) > limit)
    throw new LatchkeyError('CONNECTION_LIMIT_REACHED', { metadata: { limit: String(limit) } });
}
