import type { Em } from '../../db/transaction.ts';
import type { Integration } from '../../model/integration.ts';
import type { JsonObject } from '../../model/json.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { lockIntegration } from './find-integration.ts';
import { type IntegrationView, viewOf } from './integration-view.ts';

type Change = 'updated' | 'enabled' | 'disabled' | 'credentials_set' | 'credentials_deleted';
type Target = { id: string; etag?: string };

/**
 * One change of an integration, with its audit entry and its event: `integration_<what>`, `integration.<what>`. `work` answers what else is to be said
 * of it, or false where nothing changed. Fails with INTEGRATION_NOT_FOUND, ETAG_MISMATCH.
 */
export function changeIntegration(
  call: Call,
  { id, etag }: Target,
  what: Change,
  work: (em: Em, integration: Integration) => Promise<JsonObject | false>,
): Promise<IntegrationView> {
  return change(call, async (em) => {
    const integration = await lockIntegration(em, call, id, etag);
    const before = integration.summary();
    const said = await work(em, integration);
    if (said === false) return viewOf(em, call, integration);
    integration.changed(new Date(call.app.clock.now()));
    const after = { ...integration.summary(), ...said };
    const resource = { type: 'integration', id };
    audit(em, call, `integration_${what}`, resource, { before, after });
    event(em, call, `integration.${what}`, { ...resource, generation: integration.version }, after);
    announce(em, { kind: 'integration', tenantId: integration.tenantId, id });
    await em.flush();
    return viewOf(em, call, integration);
  });
}
