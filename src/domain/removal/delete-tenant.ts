import { LockMode } from '@mikro-orm/core';
import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import { enqueue } from '../../db/jobs.ts';
import { Tenant } from '../../model/tenant.ts';
import { callIn, OPERATOR_TENANT, tenantNotFound } from '../access/ensure-tenant.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change, read } from '../change.ts';
import { event } from '../events/event.ts';
import { destroyKeys } from './destroy-keys.ts';

type Deletion = { tenantId: string; confirmTenantId: string; immediately: boolean };

/** For how long providers may refuse to revoke before the keys are destroyed in any case. */
const REVOKING_MS = 24 * 3_600_000;
/** When a job does what the call itself does, should that be interrupted. */
const AFTER_MS = 5_000;

/** Deletes a tenant: nobody of it may call any more, and a job does the rest. Fails with TENANT_NOT_FOUND, TENANT_IS_OPERATORS, FIELD_INVALID. */
export async function deleteTenant(call: Call, { tenantId, confirmTenantId, immediately }: Deletion): Promise<Tenant> {
  if (confirmTenantId !== tenantId) throw fieldInvalid('confirm_tenant_id', 'is not the tenant_id');
  if (tenantId === OPERATOR_TENANT)
    throw new LatchkeyError('TENANT_IS_OPERATORS', { metadata: { tenant_id: tenantId } });
  const within = callIn(call, tenantId);
  const known = await read(within, (em) => em.findOne(Tenant, { tenantId }));
  if (!known) throw tenantNotFound(tenantId);
  if (known.state === 'ACTIVE') await record(call, known, immediately);
  const tenant = await mark(within, immediately);
  if (tenant.state === 'DELETING' && immediately) await destroyKeys(within);
  return read(within, async (em) => (await em.findOne(Tenant, { tenantId })) ?? tenant);
}

/** In the operator's tenant, for in the other it will be gone; before the deed, so that it cannot be done without. */
function record(call: Call, { tenantId, displayName }: Tenant, immediately: boolean): Promise<void> {
  const operator = callIn(call, OPERATOR_TENANT);
  return change(operator, async (em) => {
    const what = { display_name: displayName, immediately };
    audit(em, operator, 'tenant_deleted', { type: 'tenant', id: tenantId }, { before: what });
    event(em, operator, 'tenant.deleted', { type: 'deleted_tenant', id: tenantId, generation: 1 }, { immediately });
  });
}

function mark(within: Call, immediately: boolean): Promise<Tenant> {
  const { tenantId } = within.principal;
  return change(within, async (em) => {
    const tenant = await em.findOne(Tenant, { tenantId }, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (!tenant) throw tenantNotFound(tenantId);
    const now = within.app.clock.now();
    if (tenant.state === 'ACTIVE') {
      const eraseTime = new Date(now + (immediately ? 0 : REVOKING_MS));
      Object.assign(tenant, { state: 'DELETING', deleteTime: new Date(now), eraseTime });
    } else if (immediately && tenant.state === 'DELETING') tenant.eraseTime = new Date(now);
    const runAt = immediately ? new Date(now + AFTER_MS) : null;
    const key = `remove_tenant ${tenantId} ${tenantId}`;
    await enqueue(em, 'remove_tenant', { tenantId, id: tenantId }, { runAt, key });
    announce(em, { kind: 'tenant', tenantId, id: tenantId });
    return tenant;
  });
}
