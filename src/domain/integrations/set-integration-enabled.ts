import type { Call } from '../call.ts';
import { changeIntegration } from './change-integration.ts';
import type { IntegrationView } from './integration-view.ts';

/** Enables or disables an integration. Fails with INTEGRATION_NOT_FOUND. */
export function setIntegrationEnabled(call: Call, id: string, enabled: boolean): Promise<IntegrationView> {
  return changeIntegration(call, { id }, enabled ? 'enabled' : 'disabled', async (_, integration) => {
    if (integration.enabled === enabled) return false;
    integration.enabled = enabled;
    return {};
  });
}
