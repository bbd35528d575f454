import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import type { Egress } from '../../egress/egress.ts';
import { EgressError } from '../../egress/egress-error.ts';
import type { Integration } from '../../model/integration.ts';
import { IntegrationSecret } from '../../model/integration-secret.ts';
import type { OAuthClient } from '../../oauth/client.ts';
import { filledInOAuth, parametersOf } from '../../providers/provider.ts';
import type { App, KnownProvider, OAuthSetup } from '../call.ts';
import { changeIn } from '../change.ts';
import { findIntegration } from './find-integration.ts';
import { findProvider } from './find-provider.ts';
import { openClientSecrets } from './integration-credentials.ts';

/** Fails with INTEGRATION_NOT_FOUND, PROVIDER_NOT_FOUND, INTEGRATION_MISCONFIGURED where it has no client id, or its provider no OAuth. */
export async function loadOAuthSetup(
  app: App,
  tenantId: string,
  find: (em: Em) => Promise<Integration>,
): Promise<OAuthSetup> {
  const { integration, provider, secrets } = await changeIn(app, tenantId, async (em) => {
    const found = await find(em);
    const where = { tenantId, integrationId: found.id };
    return {
      integration: found,
      provider: await findProvider(app, em, tenantId, found.provider),
      secrets: await em.find(IntegrationSecret, where, { orderBy: { position: 'asc' } }),
    };
  });
  const { oauth } = provider.definition;
  if (!oauth) throw misconfigured(integration.id, 'oauth_not_supported');
  if (!integration.clientId) throw misconfigured(integration.id, 'client_id_missing');
  const parameters = settingsOf(integration, provider);
  const clientSecrets = await openClientSecrets(app, secrets);
  // What a tenant's own settings lead to says nothing of the provider.
  const itself = !provider.custom && (provider.definition.parameters ?? []).length === 0;
  const fetch = itself ? noting(app, provider.definition.name) : app.egress.fetch;
  const client: OAuthClient = {
    ...{ definition: filledInOAuth(oauth, parameters), clientId: integration.clientId, clientSecrets },
    fetch,
  };
  return { integration, provider, parameters, client, fetch };
}

/** Calls of built-in providers tell of their health. */
function noting({ egress, providerHealth }: App, provider: string): Egress['fetch'] {
  return async (url, init) => {
    try {
      const response = await egress.fetch(url, init);
      providerHealth.note(provider, response.status < 500);
      return response;
    } catch (error) {
      if (error instanceof EgressError && error.kind !== 'aborted') providerHealth.note(provider, false);
      throw error;
    }
  };
}

/** The provider may have changed since the settings were checked. */
function settingsOf({ id, settings }: Integration, { definition }: KnownProvider): Record<string, string> {
  try {
    return parametersOf(definition, settings, 'settings', 'oauth2');
  } catch (error) {
    if (error instanceof LatchkeyError) throw misconfigured(id, 'settings_invalid');
    throw error;
  }
}

/** The setup of an integration by id, remembered until it changes. Fails with INTEGRATION_NOT_FOUND, too. */
export async function loadOAuthSetupOf(app: App, tenantId: string, integrationId: string): Promise<OAuthSetup> {
  const load = () => loadOAuthSetup(app, tenantId, (em) => findIntegration(em, tenantId, integrationId));
  return (await app.caches.oauthSetups.get(`${tenantId} ${integrationId}`, load))!;
}

export function misconfigured(integrationId: string | null, providerError: string): LatchkeyError {
  return new LatchkeyError('INTEGRATION_MISCONFIGURED', {
    metadata: { ...(integrationId ? { integration_id: integrationId } : {}), provider_error: providerError },
  });
}
