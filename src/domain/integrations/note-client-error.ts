import { LockMode } from '@mikro-orm/core';
import { Integration } from '../../model/integration.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';

/** Notes what a provider said against an integration's client. The same again within a minute is not news. */
export function noteClientError(call: Call, integrationId: string, providerError: string): Promise<void> {
  const now = new Date(call.app.clock.now());
  return change(call, async (em) => {
    const { tenantId } = call.principal;
    const key = { tenantId, id: integrationId };
    // Many calls may hear it at once: each sees what the one before has noted.
    const integration = await em.findOne(Integration, key, { lockMode: LockMode.PESSIMISTIC_WRITE });
    const known = integration?.lastErrorTime && now.getTime() - integration.lastErrorTime.getTime() < REPEATED_MS;
    if (!integration || (known && integration.lastError === providerError)) return;
    integration.lastError = providerError;
    integration.lastErrorTime = now;
    const resource = { type: 'integration', id: integrationId };
    const said = { provider_error: providerError };
    audit(em, call, 'integration_refused', resource, { after: said });
    event(em, call, 'integration.misconfigured', { ...resource, generation: integration.version }, said);
    announce(em, { kind: 'integration', tenantId, id: integrationId });
  });
}

const REPEATED_MS = 60_000;
