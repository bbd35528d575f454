import { clientCredentialsGrantRequest, processClientCredentialsResponse } from 'oauth4webapi';
import type { OAuthClient } from './client.ts';
import { requestToken } from './request-token.ts';
import type { TokenSet } from './token-set.ts';

/** What a client asks for itself. */
export type ClientCredentialsRequest = { scopes: readonly string[]; audience: string; resource: string };

/** A token for the client itself (RFC 6749, section 4.4). Throws OAuthError. */
export function clientCredentials(client: OAuthClient, request: ClientCredentialsRequest): Promise<TokenSet> {
  const { audience, resource } = request;
  const scope = request.scopes.join(client.definition.scopes?.separator || ' ');
  const parameters = {
    ...(scope ? { scope } : {}),
    ...(audience ? { audience } : {}),
    ...(resource ? { resource } : {}),
  };
  return requestToken(client, {
    request: ({ server, client: own, auth, options }) =>
      clientCredentialsGrantRequest(server, own, auth, parameters, options),
    process: ({ server, client: own }, response) => processClientCredentialsResponse(server, own, response),
  });
}
