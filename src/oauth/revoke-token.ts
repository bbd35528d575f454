import { basicAuthorization, type Fetch } from './client.ts';
import type { RevocationDefinition } from './definition.ts';
import { OAuthError } from './oauth-error.ts';
import { mergeHeaders, parse, refuseFailure, send } from './wire.ts';

/** The tokens of a grant, and the client that they were given to. */
export type RevokedGrant = {
  accessToken: string;
  refreshToken: string | null;
  clientId: string;
  clientSecrets: readonly string[];
};

/**
 * Has a provider revoke a grant's token (RFC 7009, or what it has instead). A token that it does not know any more counts as revoked.
 * Throws OAuthError: `unavailable` and `rate_limited` pass, other failures do not.
 */
export async function revokeToken(fetch: Fetch, revocation: RevocationDefinition, grant: RevokedGrant): Promise<void> {
  const secrets = grant.clientSecrets.length > 0 ? grant.clientSecrets : [''];
  for (const [index, secret] of secrets.entries()) {
    try {
      return await revokeWith(fetch, revocation, grant, secret);
    } catch (error) {
      if (!(error instanceof OAuthError)) throw error;
      // RFC 7009, section 2.2: an invalid token is no error; some answer one nevertheless.
      if (GONE.has(error.code) || error.status === 404) return;
      if (error.failure !== 'misconfigured' || index === secrets.length - 1) throw error;
    }
  }
}

const GONE = new Set([
  'invalid_token',
  'token_revoked',
  'invalid_grant',
  'not_authed',
  'invalid_auth',
  'token_expired',
]);

async function revokeWith(
  fetch: Fetch,
  revocation: RevocationDefinition,
  grant: RevokedGrant,
  secret: string,
): Promise<void> {
  const { method = 'POST', bodyFormat = 'form', authentication = 'client_secret_post', tokenParameter } = revocation;
  const refresh = revocation.token !== 'access_token' && grant.refreshToken !== null;
  const token = refresh ? grant.refreshToken! : grant.accessToken;
  const members: Record<string, string> = {
    ...(authentication === 'bearer' || revocation.token === 'none' ? {} : { [tokenParameter || 'token']: token }),
    ...(authentication === 'client_secret_post' ? { client_id: grant.clientId } : {}),
    ...(authentication === 'client_secret_post' && secret ? { client_secret: secret } : {}),
    ...revocation.parameters,
  };
  if (!tokenParameter && authentication !== 'bearer' && revocation.token !== 'none') {
    members.token_type_hint = refresh ? 'refresh_token' : 'access_token';
  }
  const headers = mergeHeaders({ accept: 'application/json' }, revocation.headers);
  if (authentication === 'bearer') headers.authorization = `Bearer ${grant.accessToken}`;
  if (authentication === 'client_secret_basic') headers.authorization = basicAuthorization(grant.clientId, secret);
  const response = await send(fetch, revocation.url, {
    method,
    headers: { ...headers, ...contentType(bodyFormat) },
    ...(bodyFormat === 'form' ? { body: new URLSearchParams(members) } : {}),
    ...(bodyFormat === 'json' ? { body: JSON.stringify(members) } : {}),
  });
  refuseFailure(revocation, response, parse(await response.text()));
}

function contentType(format: 'form' | 'json' | 'none'): Record<string, string> {
  if (format === 'json') return { 'content-type': 'application/json' };
  return format === 'form' ? { 'content-type': 'application/x-www-form-urlencoded' } : {};
}
