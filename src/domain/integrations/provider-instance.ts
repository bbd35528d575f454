import type { SecretText } from '../../base/secret-text.ts';
import { Integration } from '../../model/integration.ts';
import { IntegrationSecret } from '../../model/integration-secret.ts';
import type { ProviderBehaviour, ProviderInstance, ProviderPlace } from '../../providers/behaviour.ts';
import { behaviourOf } from '../../providers/behaviours.ts';
import type { App, KnownProvider, OperatorInstance } from '../call.ts';
import { changeIn } from '../change.ts';
import { refuseDisabled } from './find-integration.ts';
import { openClientSecrets } from './integration-credentials.ts';
import { misconfigured } from './oauth-setup.ts';

/** What code does at a provider; nothing at a tenant's own, whatever its name. */
export function behaviourAt({ definition, custom }: KnownProvider): ProviderBehaviour {
  return custom ? {} : behaviourOf(definition.name);
}

/**
 * Where a provider runs for a tenant: as its newest integration says, else as the operator's settings do.
 * Fails with INTEGRATION_MISCONFIGURED where neither does or the integration has no key, INTEGRATION_DISABLED.
 */
export async function instanceFor(app: App, tenantId: string, provider: string): Promise<ProviderInstance> {
  const { place, openKey, integration } = await lookUp(app, tenantId, provider);
  if (integration) refuseDisabled(integration);
  if (!place) throw misconfigured(integration?.id ?? null, integration ? 'base_url_missing' : 'no_instance');
  const adminKey = await openKey();
  if (!adminKey) throw misconfigured(integration!.id, 'admin_key_missing');
  return { ...place, adminKey };
}

/** The same for who needs no key; null: nowhere. Without a tenant as the operator's settings say. */
export async function placeFor(app: App, tenantId: string, provider: string): Promise<ProviderPlace | null> {
  return (await lookUp(app, tenantId, provider)).place;
}

type Found = {
  place: ProviderPlace | null;
  openKey(): Promise<SecretText | undefined>;
  integration: Integration | null;
};

async function lookUp(app: App, tenantId: string, provider: string): Promise<Found> {
  const own = tenantId && app.tenantInstances.has(provider) ? await integrationOf(app, tenantId, provider) : null;
  if (!own) return operators(app, provider);
  const { integration, secrets } = own;
  const baseUrl = spelled(integration.settings.base_url ?? '');
  const place = baseUrl ? placeAt(app, { provider, baseUrl, integrationId: integration.id, door: app.egress }) : null;
  const openKey = async () => (await openClientSecrets(app, secrets.slice(0, 1)))[0];
  return { place, openKey, integration };
}

/** The same place, spelled in another way, is the same. */
function spelled(baseUrl: string): string {
  const url = URL.parse(baseUrl);
  return url ? `${url.origin}${url.pathname}`.replace(/\/+$/, '') : '';
}

function integrationOf(app: App, tenantId: string, provider: string) {
  return changeIn(app, tenantId, async (em) => {
    const newest = { orderBy: { enabled: 'desc', id: 'desc' }, limit: 1 } as const;
    const [integration] = await em.find(Integration, { tenantId, provider }, newest);
    if (!integration) return null;
    const where = { tenantId, integrationId: integration.id };
    return { integration, secrets: await em.find(IntegrationSecret, where, { orderBy: { position: 'asc' } }) };
  });
}

function operators(app: App, provider: string): Found {
  const instance: OperatorInstance | undefined = app.operatorInstances.get(provider);
  const openKey = async () => instance?.adminKey;
  const place = instance && placeAt(app, { provider, ...instance, integrationId: null });
  return { place: place ?? null, openKey, integration: null };
}

function placeAt({ loginPauses }: App, place: Omit<ProviderPlace, 'logins'>): ProviderPlace {
  const { provider, baseUrl, integrationId, door } = place;
  const key = `${provider} ${baseUrl}`;
  const logins = { pausedMs: () => loginPauses.leftMs(key), pause: (ms: number) => loginPauses.pause(key, ms) };
  return { provider, baseUrl, integrationId, door, logins };
}
