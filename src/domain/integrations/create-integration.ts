import { newId } from '../../base/id.ts';
import { Integration } from '../../model/integration.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { once } from '../once.ts';
import { checkIntegration } from './check-integration.ts';
import { findIntegration } from './find-integration.ts';
import { findProvider } from './find-provider.ts';
import { type IntegrationView, viewOf } from './integration-view.ts';

export type NewIntegration = {
  provider: string;
  displayName: string;
  enabled: boolean;
  settings: Record<string, string>;
  scopes: string[];
  requiredScopes: string[];
  returnUrls: string[];
  redirectPath: string;
  resource: string;
  appGroup: string;
  appGroupId: string;
  apps: string[];
  syncAction: string;
  autoCreateUsers: boolean;
};

/** Sets a provider up. Fails with PROVIDER_NOT_FOUND, FIELD_INVALID, REQUEST_ID_REUSED. */
export function createIntegration(
  call: Call,
  input: NewIntegration,
  request: { requestId: string; content: string },
): Promise<IntegrationView> {
  const { app, principal } = call;
  const { tenantId } = principal;
  const now = new Date(app.clock.now());
  const id = newId('intg', now.getTime());
  return change(call, async (em) => {
    const { definition } = await findProvider(app, em, tenantId, input.provider);
    checkIntegration(definition, input, app.config.production);
    return once(em, call, { method: 'CreateIntegration', ...request }, id, {
      async make() {
        const integration = em.create(Integration, {
          ...input,
          ...{ tenantId, id, displayName: input.displayName || definition.displayName },
          ...{ clientId: '', lastError: '', lastErrorTime: null, version: 1, createTime: now, updateTime: now },
        });
        const resource = { type: 'integration', id };
        audit(em, call, 'integration_created', resource, { after: integration.summary() });
        event(em, call, 'integration.created', { ...resource, generation: 1 }, integration.summary());
        await em.flush();
        return viewOf(em, call, integration);
      },
      repeat: async (made) => viewOf(em, call, await findIntegration(em, tenantId, made)),
    });
  });
}
