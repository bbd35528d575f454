import { LatchkeyError } from '../../base/error.ts';
import { Connection } from '../../model/connection.ts';
import { Integration } from '../../model/integration.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { lockProvider } from './update-provider.ts';

/** Deletes a provider of the tenant's own. Fails with PROVIDER_NOT_FOUND, PROVIDER_IN_USE. */
export function deleteProvider(call: Call, name: string): Promise<void> {
  return change(call, async (em) => {
    const provider = await lockProvider(em, call, name);
    const { tenantId } = call.principal;
    const integrations = await em.count(Integration, { tenantId, provider: name });
    const connections = await em.count(Connection, { tenantId, provider: name });
    if (integrations + connections > 0) {
      const counts = { integration_count: String(integrations), connection_count: String(connections) };
      throw new LatchkeyError('PROVIDER_IN_USE', { metadata: { provider: name, ...counts } });
    }
    em.remove(provider);
    const resource = { type: 'provider', id: name };
    audit(em, call, 'provider_deleted', resource, { before: provider.definition });
    event(em, call, 'provider.deleted', { ...resource, generation: provider.version + 1 });
  });
}
