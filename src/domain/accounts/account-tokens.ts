import { LatchkeyError } from '../../base/error.ts';
import type { ProviderAccount } from '../../model/provider-account.ts';
import type { AccountTokens } from '../../providers/behaviour.ts';
import { behaviourOf } from '../../providers/behaviours.ts';
import type { App, Call, ReadyCredential } from '../call.ts';
import { loadCredential } from '../connections/load-credential.ts';
import { lifetimeTooShort, refuseUnlessUsable } from '../tokens/refuse-unless-usable.ts';
import { openState } from './account-state.ts';
import { ensureAccount } from './ensure-account.ts';
import { holdAccount } from './hold-account.ts';

const LEAST_LEFT_MS = 60_000;

export type RenewRequest = { minValidForMs: number | null; force?: boolean };

/**
 * Tokens of the caller's account at a provider: those stored where they live long enough, else renewed; `force`: renewed in any case.
 * Fails as `ensureAccount` does, with CONNECTION_DISABLED and with TOKEN_LIFETIME_TOO_SHORT.
 */
export async function accountTokens(
  call: Call,
  provider: string,
  { minValidForMs, force = false }: RenewRequest,
): Promise<ReadyCredential> {
  const { app } = call;
  const { account, instance } = await ensureAccount(call, provider);
  const connection = await usableConnection(app, account);
  const enough = (tokens: AccountTokens | null) =>
    tokens !== null && leftMs(app, tokens) >= (minValidForMs ?? LEAST_LEFT_MS);
  const stored = (await openState(app, account)).tokens;
  if (!force && enough(stored)) return asCredential(connection, stored!);
  const tokens = await app.refreshes.hold(() =>
    holdAccount(app, account.tenantId, account.id, async (held) => {
      // Another one may have renewed them while we waited.
      const moved = held.state.tokens?.accessToken !== stored?.accessToken;
      if (!enough(held.state.tokens) || (force && !moved))
        await behaviourOf(provider).renewTokens!(instance, held.state, held.save);
      return held.state.tokens!;
    }),
  );
  if (minValidForMs !== null && !enough(tokens)) throw lifetimeTooShort(connection.connectionId, leftMs(app, tokens));
  return asCredential(connection, tokens);
}

/** The credential of an account's connection. Fails with CONNECTION_DISABLED, INTEGRATION_DISABLED, PROVIDER_UNAVAILABLE where it was deleted just now. */
export async function usableConnection(app: App, account: ProviderAccount): Promise<ReadyCredential> {
  const { tenantId, connectionId } = account;
  const load = () => loadCredential(app, tenantId, connectionId ?? '');
  const credential = await app.caches.credentials.get(`${tenantId} ${connectionId}`, load);
  if (!credential)
    throw new LatchkeyError('PROVIDER_UNAVAILABLE', {
      retryAfterMs: 1_000,
      metadata: { provider_error: 'account_busy' },
    });
  refuseUnlessUsable(app, credential, null);
  return credential;
}

function asCredential(connection: ReadyCredential, { accessToken, expiresAt }: AccountTokens): ReadyCredential {
  const expireTime = expiresAt > 0 ? new Date(expiresAt) : null;
  return { ...connection, kind: 'bearer', fields: {}, secrets: { token: accessToken }, expireTime, lifetimeS: null };
}

/** A token that says no end has none that we know of. */
function leftMs({ clock }: App, { expiresAt }: AccountTokens): number {
  return expiresAt > 0 ? expiresAt - clock.now() : Number.POSITIVE_INFINITY;
}
