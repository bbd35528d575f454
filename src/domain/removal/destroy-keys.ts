import { Tenant } from '../../model/tenant.ts';
import { callIn, OPERATOR_TENANT } from '../access/ensure-tenant.ts';
import { audit } from '../audit/audit.ts';
import { headText, readHead } from '../audit/chain-head.ts';
import { sealEntries } from '../audit/seal-entries.ts';
import type { App, Call } from '../call.ts';
import { announce, change } from '../change.ts';

/** How long the audit log may take to be sealed to its end. */
const SEALING_MS = 10_000;

/** Destroys the data keys of a tenant that is being deleted: from then on nothing of it opens, on no replica. The operator's audit log keeps where the tenant's own ended. */
export async function destroyKeys(call: Call): Promise<void> {
  const { app, principal } = call;
  const { tenantId } = principal;
  const resource = { type: 'tenant', id: tenantId };
  await sealToEnd(app, tenantId);
  const after = { audit_head: headText(tenantId, await readHead(app.pool, tenantId)) };
  const eraseTime = new Date(app.clock.now());
  const operator = callIn(call, OPERATOR_TENANT);
  await change(operator, async (em) => audit(em, operator, 'tenant_keys_destroyed', resource, { after }));
  await change(call, async (em) => {
    // The state keeps new keys from being made (add_data_key).
    await em.nativeUpdate(Tenant, { tenantId, state: 'DELETING' }, { state: 'ERASING', eraseTime });
    await em.execute(`update latchkey.data_key set wrapped = '' where tenant_id = ?`, [tenantId]);
    await em.execute('delete from latchkey.data_key where tenant_id = ?', [tenantId]);
    announce(em, { kind: 'tenant', tenantId, id: tenantId });
  });
}

/** A log that cannot be sealed is no reason to keep keys. */
async function sealToEnd(app: App, tenantId: string): Promise<void> {
  const end = performance.now() + SEALING_MS;
  try {
    while (performance.now() < end && (await sealEntries(app, tenantId)) !== 'none');
  } catch (error) {
    app.log.warn({ err: error, tenant: tenantId }, 'the audit log of a deleted tenant is not sealed to its end');
  }
}
