import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { Integration } from '../../model/integration.ts';
import type { Call } from '../call.ts';

/** Fails with INTEGRATION_NOT_FOUND. */
export async function findIntegration(em: Em, tenantId: string, id: string): Promise<Integration> {
  const found = await em.findOne(Integration, { tenantId, id });
  if (!found) throw integrationNotFound(id);
  return found;
}

/** The same, locked until the transaction ends. Fails with ETAG_MISMATCH, too. */
export async function lockIntegration(em: Em, { principal }: Call, id: string, etag = ''): Promise<Integration> {
  const key = { tenantId: principal.tenantId, id };
  const found = await em.findOne(Integration, key, { lockMode: LockMode.PESSIMISTIC_WRITE });
  if (!found) throw integrationNotFound(id);
  if (etag && etag !== found.etag()) throw new LatchkeyError('ETAG_MISMATCH', { metadata: { etag: found.etag() } });
  return found;
}

/** The newest enabled integration of a provider. Fails with INTEGRATION_NOT_FOUND, or INTEGRATION_DISABLED where all are disabled. */
export async function findIntegrationOf(em: Em, tenantId: string, provider: string): Promise<Integration> {
  const [found] = await em.find(
    Integration,
    { tenantId, provider },
    { orderBy: { enabled: 'desc', id: 'desc' }, limit: 1 },
  );
  if (!found) throw new LatchkeyError('INTEGRATION_NOT_FOUND', { metadata: { provider } });
  refuseDisabled(found);
  return found;
}

/** Fails with INTEGRATION_DISABLED. */
export function refuseDisabled({ id, enabled }: Pick<Integration, 'id' | 'enabled'>): void {
  if (!enabled) throw new LatchkeyError('INTEGRATION_DISABLED', { metadata: { integration_id: id } });
}

function integrationNotFound(id: string): LatchkeyError {
  return new LatchkeyError('INTEGRATION_NOT_FOUND', { metadata: { integration_id: id } });
}
