import type { OAuthError } from './oauth-error.ts';

/** What RFC 6749, section 5.2, calls misconfigured and is not the client's identity. */
const NOT_THE_CLIENT = new Set(['invalid_request', 'invalid_scope', 'unsupported_grant_type', 'invalid_target']);

/**
 * Whether an endpoint refused a request for the client's sake: by `invalid_client`, by a code of the provider's own, or by the status alone. What came by a
 * browser says nothing of that.
 */
export function refusesClient({ failure, code, status }: OAuthError): boolean {
  return failure === 'misconfigured' && status !== undefined && !NOT_THE_CLIENT.has(code);
}
