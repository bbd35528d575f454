import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import type { StoredLimits } from '../../model/tenant.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';

/** The same call, made in another tenant. */
export function callIn(call: Call, tenantId: string): Call {
  const { app, requestId, address, signal } = call;
  return { app, requestId, address, signal, principal: { ...call.principal, tenantId } };
}

/** Makes the call's tenant unless it exists. */
export async function ensureTenant(call: Call, displayName: string): Promise<void> {
  await change(call, (em) => insertTenant(em, call, displayName, {}));
}

/** Inserts the call's tenant unless it exists. Answers whether it was made. */
export async function insertTenant(em: Em, call: Call, displayName: string, limits: StoredLimits): Promise<boolean> {
  const { tenantId } = call.principal;
  const made = await em.execute<object[]>(
    'insert into latchkey.tenant (tenant_id, display_name, create_time, limits) values (?, ?, ?, ?) on conflict do nothing returning tenant_id',
    [tenantId, displayName, new Date(call.app.clock.now()), JSON.stringify(limits)],
  );
  if (made.length === 0) return false;
  const resource = { type: 'tenant', id: tenantId };
  audit(em, call, 'tenant_created', resource, { after: { display_name: displayName, limits } });
  event(em, call, 'tenant.created', { ...resource, generation: 1 });
  return true;
}

export function tenantNotFound(tenantId: string): LatchkeyError {
  return new LatchkeyError('TENANT_NOT_FOUND', { metadata: { tenant_id: tenantId } });
}
