import { LatchkeyError } from '../../base/error.ts';
import { isPassing, type Reason } from '../../base/reasons.ts';
import { OAuthError, type OAuthFailure } from '../../oauth/oauth-error.ts';

/** What a failed step means to who asked for it. */
const REASON_OF: Record<OAuthFailure, Reason> = {
  grant_dead: 'AUTHORIZATION_FAILED',
  denied: 'AUTHORIZATION_DENIED',
  misconfigured: 'INTEGRATION_MISCONFIGURED',
  pending: 'AUTHORIZATION_FAILED',
  slow_down: 'AUTHORIZATION_FAILED',
  rate_limited: 'PROVIDER_RATE_LIMITED',
  unavailable: 'PROVIDER_UNAVAILABLE',
  refused: 'AUTHORIZATION_FAILED',
};
const RETRY_MS = 5_000;

/** A failed step of OAuth as an error of ours; any other error as it is. */
export function oauthFailure(error: unknown, integrationId: string | null): unknown {
  if (!(error instanceof OAuthError)) return error;
  const reason = REASON_OF[error.failure];
  return new LatchkeyError(reason, {
    metadata: { ...(integrationId ? { integration_id: integrationId } : {}), provider_error: error.code },
    ...(isPassing(reason) ? { retryAfterMs: error.retryAfterMs ?? RETRY_MS } : {}),
    cause: error,
  });
}
