import { type StoredLimits, Tenant } from '../../model/tenant.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { callIn, tenantNotFound } from './ensure-tenant.ts';

/** What is undefined stays. */
type TenantChange = { tenantId: string; displayName: string | undefined; limits: StoredLimits | undefined };

/** Changes a tenant's name or limits. Fails with TENANT_NOT_FOUND. */
export function updateTenant(call: Call, { tenantId, displayName, limits }: TenantChange): Promise<Tenant> {
  const within = callIn(call, tenantId);
  return change(within, async (em) => {
    const tenant = await em.findOne(Tenant, { tenantId });
    if (!tenant) throw tenantNotFound(tenantId);
    const before = tenant.summary();
    if (displayName !== undefined) tenant.displayName = displayName;
    if (limits !== undefined) tenant.limits = limits;
    const resource = { type: 'tenant', id: tenantId };
    audit(em, within, 'tenant_updated', resource, { before, after: tenant.summary() });
    event(em, within, 'tenant.updated', { ...resource, generation: 1 });
    announce(em, { kind: 'tenant', tenantId, id: tenantId });
    return tenant;
  });
}
