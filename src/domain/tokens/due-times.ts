import type { OAuthClient } from '../../oauth/client.ts';
import type { TokenSet } from '../../oauth/token-set.ts';
import { jitterOf, softExpiry } from './decide-refresh.ts';

/** Whatever lifetime a provider answers, a connection is not refreshed by itself more often. */
const LEAST_BETWEEN_MS = 30_000;
/** A refresh token that would die unused is used after this share of what it may rest. */
const KEEPALIVE_SHARE = 0.5;

/** When new tokens are to be renewed: in time for who uses them, and in time for a refresh token that would die unused. Null: never. */
export function dueTimes(
  { definition }: OAuthClient,
  connectionId: string,
  { expiresInS, refreshExpiresInS }: TokenSet,
  now: number,
): { refreshDue: Date | null; keepaliveDue: Date | null } {
  const lifetimeMs = expiresInS === null ? null : expiresInS * 1000;
  const expireAt = lifetimeMs === null ? null : now + lifetimeMs;
  const soft = softExpiry({ expireAt, lifetimeMs, jitter: jitterOf(connectionId) });
  const restsS = definition.lifetimes?.refreshTokenIdleS || refreshExpiresInS;
  return {
    refreshDue: soft === null ? null : new Date(Math.max(soft, now + LEAST_BETWEEN_MS)),
    keepaliveDue: restsS ? new Date(now + restsS * KEEPALIVE_SHARE * 1000) : null,
  };
}
