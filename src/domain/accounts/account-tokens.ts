import { LatchkeyError } from '../../base/error.ts';
import { isPassing } from '../../base/reasons.ts';
import type { ProviderAccount } from '../../model/provider-account.ts';
import type { AccountTokens } from '../../providers/behaviour.ts';
import { behaviourOf } from '../../providers/behaviours.ts';
import type { App, Call, ReadyCredential } from '../call.ts';
import { loadCredential } from '../connections/load-credential.ts';
import { lifetimeTooShort, refuseUnlessUsable } from '../tokens/refuse-unless-usable.ts';
import { openState } from './account-state.ts';
import { ensureAccount, type UsableAccount } from './ensure-account.ts';
import { accountBusy, holdAccount } from './hold-account.ts';

const LEAST_LEFT_MS = 60_000;

export type RenewRequest = { minValidForMs: number | null; force?: boolean };

/**
 * Tokens of the caller's account at a provider: those stored where they live long enough, else renewed; `force`: renewed in any case. One that still
 * works is better than none. Fails as `ensureAccount` does, with CONNECTION_DISABLED, REAUTHORIZATION_REQUIRED and TOKEN_LIFETIME_TOO_SHORT.
 */
export async function accountTokens(
  call: Call,
  provider: string,
  { minValidForMs, force = false }: RenewRequest,
): Promise<ReadyCredential> {
  const { app } = call;
  const usable = await ensureAccount(call, provider, 'use');
  const connection = await usableConnection(app, usable.account);
  const stored = (await openState(app, usable.account)).tokens;
  const least = minValidForMs ?? LEAST_LEFT_MS;
  if (!force && leftMs(app, stored) >= least) return asCredential(connection, stored!);
  if (minValidForMs !== null && stored && lifeMs(stored) < minValidForMs)
    throw lifetimeTooShort(connection.connectionId, lifeMs(stored));
  const tokens = await renewed(call, usable, { stored, least, force }).catch((error: unknown) => {
    const passes = error instanceof LatchkeyError && isPassing(error.reason);
    if (!passes || force || minValidForMs !== null || leftMs(app, stored) <= 0) throw error;
    return stored!;
  });
  if (minValidForMs !== null && leftMs(app, tokens) < minValidForMs)
    throw lifetimeTooShort(connection.connectionId, leftMs(app, tokens));
  return asCredential(connection, tokens);
}

type Renewal = { stored: AccountTokens | null; least: number; force: boolean };

function renewed(call: Call, { account, instance }: UsableAccount, { stored, least, force }: Renewal) {
  return holdAccount(call, account.id, async ({ state, save }): Promise<AccountTokens> => {
    // Another one may have renewed them while we waited.
    const moved = state.tokens?.accessToken !== stored?.accessToken;
    const enough = leftMs(call.app, state.tokens) >= least;
    if (!moved || !(enough || force)) await behaviourOf(account.provider).renewTokens!(instance, state, save);
    return state.tokens!;
  });
}

/** The credential of an account's connection. Fails with CONNECTION_DISABLED, INTEGRATION_DISABLED, REAUTHORIZATION_REQUIRED where it was revoked. */
export async function usableConnection(
  app: App,
  { tenantId, connectionId }: ProviderAccount,
): Promise<ReadyCredential> {
  const load = () => loadCredential(app, tenantId, connectionId ?? '');
  const credential = await app.caches.credentials.get(`${tenantId} ${connectionId}`, load);
  // Deleted by somebody just now.
  if (!credential) throw accountBusy();
  refuseUnlessUsable(app, credential, null);
  return credential;
}

function asCredential(connection: ReadyCredential, { accessToken, expiresAt }: AccountTokens): ReadyCredential {
  const expireTime = expiresAt > 0 ? new Date(expiresAt) : null;
  return { ...connection, kind: 'bearer', fields: {}, secrets: { token: accessToken }, expireTime, lifetimeS: null };
}

/** A token that says no end has none that we know of. */
function leftMs({ clock }: App, tokens: AccountTokens | null): number {
  if (!tokens) return Number.NEGATIVE_INFINITY;
  return tokens.expiresAt > 0 ? tokens.expiresAt - clock.now() : Number.POSITIVE_INFINITY;
}

/** As long as it lived when it was new. */
function lifeMs({ obtainedAt, expiresAt }: AccountTokens): number {
  return expiresAt > 0 ? expiresAt - obtainedAt : Number.POSITIVE_INFINITY;
}
