import type { OAuthError } from './oauth-error.ts';

/** What a caller's own words, as the scopes of a request, can lead to. */
const NOT_THE_CLIENT = new Set(['invalid_request', 'invalid_scope', 'unsupported_grant_type']);

/**
 * Whether an endpoint refused a request for the client's or the integration's sake: by `invalid_client`, by a code of the provider's own, or by the status alone. What came by a
 * browser says nothing of that.
 */
export function refusesClient({ failure, code, status }: OAuthError): boolean {
  return failure === 'misconfigured' && status !== undefined && !NOT_THE_CLIENT.has(code);
}
