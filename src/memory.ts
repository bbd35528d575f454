import { ReplicaCache } from './base/cache.ts';
import type { Metrics } from './base/metrics.ts';
import type { Signals } from './base/signals.ts';
import type { Config } from './config.ts';
import type { Keyring } from './crypto/keyring.ts';
import type { Changed, ChangeListener } from './db/listen.ts';
import type { Caches, OAuthSetup, Principal, ReadyCredential, ReadyInboundEndpoint } from './domain/call.ts';
import type { FetchedTokenCache } from './domain/tokens/fetched-tokens.ts';

const PRINCIPALS_CACHED = 50_000;
const OAUTH_SETUPS_CACHED = 10_000;
const INBOUND_ENDPOINTS_CACHED = 10_000;

/** What a process remembers of the database. */
export type Memory = { caches: Caches; keyring: Keyring; fetchedTokens: FetchedTokenCache; signals: Signals };

/** Empty, each as large as the settings say. */
export function openCaches(config: Config, metrics: Metrics, { trusted }: ChangeListener): Caches {
  return {
    principals: new ReplicaCache<Principal>({ name: 'principals', maxEntries: PRINCIPALS_CACHED, metrics, trusted }),
    oauthSetups: new ReplicaCache<OAuthSetup>({
      name: 'oauth_setups',
      maxEntries: OAUTH_SETUPS_CACHED,
      metrics,
      trusted,
    }),
    inboundEndpoints: new ReplicaCache<ReadyInboundEndpoint>({
      name: 'inbound_endpoints',
      maxEntries: INBOUND_ENDPOINTS_CACHED,
      metrics,
      trusted,
    }),
    credentials: new ReplicaCache<ReadyCredential>({
      name: 'credentials',
      maxEntries: config.credentialCacheEntries,
      metrics,
      trusted,
    }),
  };
}

/** What somebody who waits for a change is woken by. */
export function signalKey({ kind, tenantId, id }: Changed): string {
  return `${kind} ${tenantId} ${id}`;
}

/** Drops what a change makes untrue, and wakes who waits for it. */
export function forget({ caches, keyring, fetchedTokens, signals }: Memory, changed: Changed): void {
  const { principals, credentials, oauthSetups, inboundEndpoints } = caches;
  const { kind, tenantId, id } = changed;
  signals.fire(signalKey(changed));
  signals.fire(kind === 'event' ? 'event' : 'change');
  if (kind === 'integration') {
    oauthSetups.drop(`${tenantId} ${id}`);
    credentials.dropWhere((known) => known.tenantId === tenantId && known.integrationId === id);
  }
  if (kind === 'inbound_endpoint') inboundEndpoints.drop(id);
  if (kind === 'connection') credentials.drop(`${tenantId} ${id}`);
  if (kind === 'secret') credentials.dropWhere((known) => known.tenantId === tenantId && known.secretIds.includes(id));
  if (kind === 'api_key')
    principals.dropWhere((known) => known.kind === 'api_key' && known.tenantId === tenantId && known.id === id);
  if (kind === 'user') principals.dropWhere((known) => known.tenantId === tenantId && known.userId === id);
  if (kind !== 'tenant') return;
  for (const cache of [principals, credentials, inboundEndpoints])
    cache.dropWhere((known: { tenantId: string }) => known.tenantId === tenantId);
  oauthSetups.dropWhere(({ integration }) => integration.tenantId === tenantId);
  fetchedTokens.forget(tenantId);
  keyring.forget(tenantId);
}

/** Drops what may be untrue where changes may have been missed. */
export function clear({ caches: { principals, credentials, oauthSetups, inboundEndpoints }, keyring }: Memory): void {
  keyring.clear();
  inboundEndpoints.clear();
  oauthSetups.clear();
  principals.clear();
  credentials.clear();
}
