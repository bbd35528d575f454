import { LatchkeyError } from '../../base/error.ts';
import type { App, Call, ReadyCredential } from '../call.ts';
import { connectionNotFound } from '../connections/visibility.ts';
import { decideRefresh, jitterOf } from './decide-refresh.ts';
import { refresh } from './refresh.ts';
import { isRefreshable, lifetimeTooShort, refuseUnlessUsable } from './refuse-unless-usable.ts';

type Reload = () => Promise<ReadyCredential | null>;

/**
 * Renews tokens that are asked for, where it is time. Null: they can be handed out as they are; if their renewal is due, it goes on behind. Fails with
 * TOKEN_LIFETIME_TOO_SHORT, REAUTHORIZATION_REQUIRED and, where there is no token to go on with, as the provider does.
 */
export function renewIfDue(
  { app }: Call,
  credential: ReadyCredential,
  minValidForMs: number | null,
  reload: Reload,
): Promise<ReadyCredential> | null {
  if (!isRefreshable(credential)) return null;
  const times = timesOf(credential);
  const decision = decideRefresh(times, app.clock.now(), minValidForMs);
  switch (decision.do) {
    case 'serve':
      return null;
    case 'refuse':
      throw lifetimeTooShort(credential.connectionId, times.lifetimeMs ?? 0);
    case 'serve_and_refresh':
      app.metrics.servedPastSoft.inc();
      void refresh(app, credential);
      return null;
    case 'refresh':
      return renew(app, credential, minValidForMs, reload);
  }
}

async function renew(
  app: App,
  credential: ReadyCredential,
  minValidForMs: number | null,
  reload: Reload,
): Promise<ReadyCredential> {
  const outcome = await refresh(app, credential);
  if (outcome.kind === 'failed') return goOnWith(app, credential, minValidForMs, outcome.error);
  const fresh = await reload();
  if (!fresh) throw connectionNotFound(credential.connectionId);
  refuseUnlessUsable(app, fresh, null);
  const left = leftMs(app, fresh);
  if (minValidForMs !== null && left < minValidForMs) throw lifetimeTooShort(fresh.connectionId, left);
  if (left <= 0)
    throw new LatchkeyError('PROVIDER_UNAVAILABLE', {
      retryAfterMs: 1_000,
      metadata: { provider_error: 'expired_at_once' },
    });
  return fresh;
}

/** A token that still works is better than none, unless it was asked to live longer. */
function goOnWith(app: App, credential: ReadyCredential, minValidForMs: number | null, error: Error): ReadyCredential {
  const left = leftMs(app, credential);
  if (left <= 0 || (minValidForMs !== null && left < minValidForMs)) throw error;
  return { ...credential, warning: error instanceof LatchkeyError ? error.reason : 'INTERNAL' };
}

function leftMs(app: App, { expireTime }: ReadyCredential): number {
  return expireTime ? expireTime.getTime() - app.clock.now() : Number.POSITIVE_INFINITY;
}

function timesOf({ connectionId, expireTime, lifetimeS }: ReadyCredential) {
  return {
    expireAt: expireTime?.getTime() ?? null,
    lifetimeMs: lifetimeS === null ? null : lifetimeS * 1000,
    jitter: jitterOf(connectionId),
  };
}
