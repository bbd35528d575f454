import type { HealthReport } from '../../providers/behaviour.ts';
import type { Call, KnownProvider } from '../call.ts';
import { read } from '../change.ts';
import { allProviders } from './find-provider.ts';
import { getProvider } from './get-provider.ts';
import { behaviourAt, placeFor } from './provider-instance.ts';

export type ProviderHealth = {
  provider: string;
  status: HealthReport['status'] | 'UNKNOWN';
  latencyMs: number | null;
  version: string;
  message: string;
  checkTime: Date | null;
};

const CHECK_MS = 3_000;
const MINUTE_MS = 60_000;
/** With fewer calls than this nothing is said to be down. */
const FEW = 3;

/** Whether a provider works, as far as that is known. Fails with PROVIDER_NOT_FOUND. */
export async function checkProviderHealth(call: Call, name: string): Promise<ProviderHealth> {
  return healthOf(call, await getProvider(call, name));
}

/** The same of all providers at once, by name. */
export async function checkAllProvidersHealth(call: Call): Promise<ProviderHealth[]> {
  const providers = await allProviders(call);
  const byName = providers.sort((a, b) => (a.definition.name < b.definition.name ? -1 : 1));
  return Promise.all(byName.map((provider) => healthOf(call, provider)));
}

async function healthOf(call: Call, provider: KnownProvider): Promise<ProviderHealth> {
  const { checkHealth } = behaviourAt(provider);
  if (!checkHealth) return heardOf(call, provider);
  const { app, principal } = call;
  const { name } = provider.definition;
  const place = await placeFor(app, principal.tenantId, name);
  const unknown = { provider: name, status: 'UNKNOWN' as const, latencyMs: null, version: '', checkTime: null };
  if (!place) return { ...unknown, message: 'No instance of it is set up.' };
  return app.providerHealth.checked(`${name} ${place.integrationId ?? ''} ${place.baseUrl}`, async () => {
    const [startedAt, checkTime] = [performance.now(), new Date(app.clock.now())];
    const { status, version, message } = await checkHealth(place, CHECK_MS);
    const latencyMs = status === 'DOWN' ? null : Math.round(performance.now() - startedAt);
    return { provider: name, status, latencyMs, version, message, checkTime };
  });
}

/** It is not asked: no request says whether OAuth works but one that somebody needs. */
async function heardOf(call: Call, { definition: { name }, custom }: KnownProvider): Promise<ProviderHealth> {
  const recent = custom ? null : call.app.providerHealth.recent(name);
  // To the minute: when others call is not for everybody to know.
  const checkTime = recent && new Date(Math.floor(recent.time / MINUTE_MS) * MINUTE_MS);
  const health = { provider: name, latencyMs: null, version: '', message: '', checkTime };
  if (await circuitOpen(call, name))
    return { ...health, status: 'DOWN', message: 'Its token endpoint fails and is left alone for a while.' };
  return { ...health, ...judgeCalls(recent) };
}

/** What calls of the last minutes say of a provider; null: there were none. */
export function judgeCalls(
  recent: { calls: number; failures: number } | null,
): Pick<ProviderHealth, 'status' | 'message'> {
  if (!recent) return { status: 'UNKNOWN', message: '' };
  const { calls, failures } = recent;
  if (failures === 0) return { status: 'SERVING', message: '' };
  if (failures === calls && calls >= FEW) return { status: 'DOWN', message: 'No call of late was answered.' };
  return { status: 'DEGRADED', message: 'Not all calls of late were answered.' };
}

function circuitOpen(call: Call, provider: string): Promise<boolean> {
  const { tenantId } = call.principal;
  if (!tenantId) return Promise.resolve(false);
  return read(call, async (em) => {
    const rows = await em.execute(
      `select from latchkey.circuit b join latchkey.integration i on i.tenant_id = b.tenant_id and i.id = b.integration_id
        where b.tenant_id = ? and i.provider = ? and b.failures >= 5 and b.open_until > clock_timestamp() limit 1`,
      [tenantId, provider],
    );
    return rows.length > 0;
  });
}
