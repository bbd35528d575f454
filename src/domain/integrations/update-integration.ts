import type { Integration } from '../../model/integration.ts';
import { IntegrationSecret } from '../../model/integration-secret.ts';
import type { JsonObject } from '../../model/json.ts';
import type { ProviderDefinition } from '../../providers/types.ts';
import type { Call } from '../call.ts';
import { changeIntegration } from './change-integration.ts';
import { checkIntegration } from './check-integration.ts';
import type { NewIntegration } from './create-integration.ts';
import { findProvider } from './find-provider.ts';
import { refuseUnlessMayLead, settingsLeadElsewhere } from './hosts.ts';
import type { IntegrationView } from './integration-view.ts';

type Changeable = Omit<NewIntegration, 'provider' | 'enabled'>;
/** Undefined: unchanged. */
export type IntegrationPatch = { [Field in keyof Changeable]: Changeable[Field] | undefined };

/** Changes what the patch sets. Fails with INTEGRATION_NOT_FOUND, FIELD_INVALID, ETAG_MISMATCH, PERMISSION_MISSING. */
export function updateIntegration(
  call: Call,
  id: string,
  etag: string,
  patch: IntegrationPatch,
): Promise<IntegrationView> {
  return changeIntegration(call, { id, etag }, 'updated', async (em, integration) => {
    const { definition } = await findProvider(call.app, em, integration.tenantId, integration.provider);
    checkIntegration(definition, patch, call.app.config.production);
    const { settings } = patch;
    if (settings && settingsLeadElsewhere(definition, integration.settings, settings))
      refuseUnlessMayLead(call.principal);
    const moved = movesInstance(definition, integration, patch);
    // Whoever may say where an instance is must not thereby learn its key.
    if (moved) await em.nativeDelete(IntegrationSecret, { tenantId: integration.tenantId, integrationId: id });
    const set = Object.entries(patch).filter(([, value]) => value !== undefined);
    em.assign(integration, Object.fromEntries(set) as Partial<Changeable>);
    const said: JsonObject = moved ? { client_secrets: 0 } : {};
    return said;
  });
}

function movesInstance({ parameters = [] }: ProviderDefinition, { settings }: Integration, patch: IntegrationPatch) {
  const given = patch.settings;
  return given !== undefined && parameters.some(({ name, url }) => url && given[name] !== settings[name]);
}
