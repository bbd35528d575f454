import { LatchkeyError } from '../../base/error.ts';
import { type StoredLimits, Tenant } from '../../model/tenant.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { once } from '../once.ts';
import { callIn, insertTenant, refuseDeletedTenant } from './ensure-tenant.ts';

type NewTenant = { tenantId: string; displayName: string; limits: StoredLimits; requestId: string };

/** Makes a tenant, also under the id of one that was deleted, of which nothing is left. Fails with TENANT_ID_TAKEN, REQUEST_ID_REUSED, and while one is being deleted with TENANT_DELETED. */
export async function createTenant(call: Call, input: NewTenant): Promise<Tenant> {
  const { tenantId, displayName, limits, requestId } = input;
  const content = JSON.stringify([displayName, limits]);
  const within = callIn(call, tenantId);
  return change(within, async (em) => {
    await em.execute('delete from latchkey.deleted_tenant where tenant_id = ?', [tenantId]);
    const made = await insertTenant(em, within, displayName, limits);
    if (!made) await refuseDeletedTenant(em, tenantId);
    const get = () => em.findOneOrFail(Tenant, { tenantId });
    return once(em, within, { method: 'CreateTenant', requestId, content }, tenantId, {
      make() {
        if (!made) throw new LatchkeyError('TENANT_ID_TAKEN', { metadata: { tenant_id: tenantId } });
        return get();
      },
      repeat: get,
    });
  });
}
