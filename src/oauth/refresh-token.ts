import { processRefreshTokenResponse, refreshTokenGrantRequest } from 'oauth4webapi';
import type { OAuthClient } from './client.ts';
import { requestToken } from './request-token.ts';
import type { TokenSet } from './token-set.ts';

/** New tokens for a refresh token (RFC 6749, section 6). Throws OAuthError. */
export function refreshToken(client: OAuthClient, token: string): Promise<TokenSet> {
  // An id_token is of no use here, and keys that cannot be had now would cost the tokens beside it.
  const { jwksUrl: _, ...definition } = client.definition;
  return requestToken(
    { ...client, definition },
    {
      request: ({ server, client: own, auth, options }) => refreshTokenGrantRequest(server, own, auth, token, options),
      process: ({ server, client: own }, response) => processRefreshTokenResponse(server, own, response),
    },
  );
}
