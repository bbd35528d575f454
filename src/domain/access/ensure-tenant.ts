import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { type StoredLimits, Tenant } from '../../model/tenant.ts';
import { audit } from '../audit/audit.ts';
import type { App, Call } from '../call.ts';
import { change, changeIn } from '../change.ts';
import { event } from '../events/event.ts';

/** The operator's own tenant. */
export const OPERATOR_TENANT = 'default';

/** The same call, made in another tenant. */
export function callIn<Shared>(call: Call<Shared>, tenantId: string): Call<Shared> {
  const { app, requestId, address, signal } = call;
  return { app, requestId, address, signal, principal: { ...call.principal, tenantId } };
}

/** Makes the call's tenant unless it exists. Fails with TENANT_DELETED. */
export async function ensureTenant(call: Call, displayName: string): Promise<void> {
  await change(call, async (em) => {
    if (!(await insertTenant(em, call, displayName, {}))) await refuseDeletedTenant(em, call.principal.tenantId);
  });
}

/** Inserts the call's tenant unless it exists, or did. Answers whether it was made. */
export async function insertTenant(em: Em, call: Call, displayName: string, limits: StoredLimits): Promise<boolean> {
  const { tenantId } = call.principal;
  // One that goes leaves its id behind in the same moment: whoever sees the one not sees the other.
  const made = await em.execute<object[]>(
    `insert into latchkey.tenant (tenant_id, display_name, create_time, limits) select ?, ?, ?, ?
      where not exists (select from latchkey.tenant where tenant_id = ?) and not exists (select from latchkey.deleted_tenant where tenant_id = ?)
     on conflict do nothing returning tenant_id`,
    [tenantId, displayName, new Date(call.app.clock.now()), JSON.stringify(limits), tenantId, tenantId],
  );
  if (made.length === 0) return false;
  const resource = { type: 'tenant', id: tenantId };
  audit(em, call, 'tenant_created', resource, { after: { display_name: displayName, limits } });
  event(em, call, 'tenant.created', { ...resource, generation: 1 });
  return true;
}

/** Fails with TENANT_DELETED where a tenant was deleted, or is being. */
export async function refuseDeletedTenant(em: Em, tenantId: string): Promise<void> {
  const tenant = await em.findOne(Tenant, { tenantId });
  if (tenant?.state !== 'ACTIVE') throw new LatchkeyError('TENANT_DELETED', { metadata: { tenant_id: tenantId } });
}

/** Whether there is nothing to do for a tenant any more: its data keys are destroyed. */
export function isErased(app: App, tenantId: string): Promise<boolean> {
  return changeIn(app, tenantId, async (em) => {
    const tenant = await em.findOne(Tenant, { tenantId });
    return !tenant || tenant.state === 'ERASING';
  });
}

/** TENANT_NOT_FOUND. */
export function tenantNotFound(tenantId: string): LatchkeyError {
  return new LatchkeyError('TENANT_NOT_FOUND', { metadata: { tenant_id: tenantId } });
}
