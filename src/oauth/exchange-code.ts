import {
  AuthorizationResponseError,
  authorizationCodeGrantRequest,
  nopkce,
  processAuthorizationCodeResponse,
  validateAuthResponse,
} from 'oauth4webapi';
import { clientOf, type OAuthClient, serverOf } from './client.ts';
import { OAuthError } from './oauth-error.ts';
import { asOAuthError, requestToken } from './request-token.ts';
import type { TokenSet } from './token-set.ts';
import { failureOfCode } from './wire.ts';

/** What was kept of an authorization since it was sent off. */
export type CodeExchange = {
  /** Query of the callback, as it came. */
  callback: URLSearchParams;
  state: string;
  redirectUri: string;
  /** Null: the provider's entry says that it takes no PKCE. */
  verifier: string | null;
  /** Null: no id_token was asked for. */
  nonce: string | null;
  resource: string;
};

/** Checks what came back (RFC 6749, section 4.1.2; RFC 9207), then turns the code into tokens. Throws OAuthError, before any request where the callback is not valid. */
export async function exchangeCode(client: OAuthClient, exchange: CodeExchange): Promise<TokenSet> {
  const parameters = validated(client, exchange);
  const { redirectUri, verifier, nonce, resource } = exchange;
  return requestToken(client, {
    request: ({ server, client: own, auth, options }) =>
      authorizationCodeGrantRequest(server, own, auth, parameters, redirectUri, verifier ?? nopkce, {
        ...options,
        ...(resource ? { additionalParameters: { resource } } : {}),
      }),
    process: ({ server, client: own }, response) =>
      processAuthorizationCodeResponse(server, own, response, nonce ? { expectedNonce: nonce } : {}),
  });
}

function validated(client: OAuthClient, { callback, state }: CodeExchange): URLSearchParams {
  const parameters = new URLSearchParams(callback);
  // Without an issuer to compare with, the redirect URI of the provider's own tells who answered.
  if (!client.definition.issuer) parameters.delete('iss');
  try {
    const checked = validateAuthResponse(serverOf(client), clientOf(client), parameters, state);
    if (!checked.get('code')) throw new OAuthError('refused', 'the callback has no code', { code: 'code_missing' });
    return checked;
  } catch (error) {
    if (!(error instanceof AuthorizationResponseError)) throw asOAuthError(error);
    throw new OAuthError(failureOfCode(client.definition.errors ?? {}, error.error), 'the provider declined', {
      code: error.error,
    });
  }
}
