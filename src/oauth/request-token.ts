import {
  type AuthorizationServer,
  type Client,
  type ClientAuth,
  customFetch,
  getValidatedIdTokenClaims,
  type TokenEndpointResponse,
  validateApplicationLevelSignature,
} from 'oauth4webapi';
import { LatchkeyError } from '../base/error.ts';
import { clientOf, insecureAllowed, type OAuthClient, serverOf, withClientSecrets } from './client.ts';
import { OAuthError } from './oauth-error.ts';
import { type TokenSet, tokenSetOf } from './token-set.ts';
import { type Document, send, wireFetch } from './wire.ts';

/** What a grant is asked with. */
export type TokenRequest = {
  server: AuthorizationServer;
  client: Client;
  auth: ClientAuth;
  options: typeof insecureAllowed & { [customFetch]: ReturnType<typeof wireFetch>; signal?: AbortSignal };
};

/** One grant: how `oauth4webapi` asks for it, and how it reads the answer. */
export type Grant = {
  request: (request: TokenRequest) => Promise<Response>;
  process: (request: TokenRequest, response: Response) => Promise<TokenEndpointResponse>;
};

/**
 * Asks the token endpoint, with each client secret in turn where one is refused. Verifies an id_token, claims and signature.
 * Throws OAuthError.
 */
export function requestToken(client: OAuthClient, grant: Grant, signal?: AbortSignal): Promise<TokenSet> {
  const server = serverOf(client);
  return withClientSecrets(client, async (auth) => {
    let document: Document = {};
    const fetch = wireFetch(client, (heard) => {
      document = heard;
    });
    const options = { ...insecureAllowed, [customFetch]: fetch, ...(signal ? { signal } : {}) };
    const request: TokenRequest = { server, client: clientOf(client), auth, options };
    try {
      const response = await grant.request(request);
      const answer = await grant.process(request, response);
      const claims = getValidatedIdTokenClaims(answer);
      // oauth4webapi trusts the connection for the signature (OpenID Connect Core 1.0, section 3.1.3.7); we do not.
      if (claims) {
        await validateApplicationLevelSignature(server, response, {
          ...insecureAllowed,
          [customFetch]: keysFetch(client),
        });
      }
      return tokenSetOf(client.definition, answer, document, (claims as Document | undefined) ?? null);
    } catch (error) {
      throw asOAuthError(error);
    }
  });
}

/** Keys that cannot be had now say nothing of the token. */
function keysFetch({ fetch }: OAuthClient) {
  return async (url: string, { headers, method }: { headers: Record<string, string>; method: string }) => {
    const response = await send(fetch, url, { headers, method });
    if (response.status >= 500 || response.status === 429)
      throw new OAuthError('unavailable', 'the keys cannot be had', {
        code: 'keys_unavailable',
        status: response.status,
      });
    return response;
  };
}

/** What `oauth4webapi` refuses is an answer that cannot be trusted. */
export function asOAuthError(error: unknown): unknown {
  if (error instanceof OAuthError || error instanceof LatchkeyError) return error;
  const code = error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : 'invalid';
  return new OAuthError('refused', "the provider's answer is not valid", { code: code.toLowerCase(), cause: error });
}
