import { LatchkeyError } from '../../base/error.ts';
import { isPassing, type Reason } from '../../base/reasons.ts';
import type { Call } from '../call.ts';
import { answerCallback } from './answer-callback.ts';
import type { AuthorizationView } from './authorization-view.ts';
import { isStarter } from './find-authorization.ts';

const RETRY_MS = 5_000;

/** Takes what a provider sent to an application of the caller's. Fails with AUTHORIZATION_STATE_INVALID, or with what the authorization failed for. */
export async function completeAuthorization(call: Call, callbackQuery: string): Promise<AuthorizationView> {
  const { app, principal, signal } = call;
  const view = await answerCallback(app, {
    query: new URLSearchParams(callbackQuery),
    redirectUri: '',
    bound: ({ tenantId, starter, browserHash }) =>
      // One that a browser was bound to comes back by that browser.
      browserHash === null && tenantId === principal.tenantId && isStarter(principal, starter),
    signal,
  });
  if (view.status === 'SUCCEEDED') return view;
  const { id, connectionId, integrationId, providerError } = view.authorization;
  const metadata = {
    ...{ authorization_id: id, connection_id: connectionId, integration_id: integrationId },
    provider_error: providerError,
  };
  const reason = (view.reason || 'AUTHORIZATION_FAILED') as Reason;
  throw new LatchkeyError(reason, { metadata, ...(isPassing(reason) ? { retryAfterMs: RETRY_MS } : {}) });
}
