import {
  type AuthorizationServer,
  allowInsecureRequests,
  type Client,
  type ClientAuth,
  ClientSecretPost,
  None,
} from 'oauth4webapi';
import type { SecretText } from '../base/secret-text.ts';
import type { ClientAuthentication, OAuthDefinition } from './definition.ts';
import { OAuthError } from './oauth-error.ts';
import { refusesClient } from './refuses-client.ts';

/** As the platform's: the door that every request goes out by. */
export type Fetch = (url: string, init: FetchInit) => Promise<Response>;
export type FetchInit = {
  method?: string;
  headers?: Record<string, string>;
  body?: string | URLSearchParams | null;
  signal?: AbortSignal;
};

/** Our registration at a provider: what each step needs. */
export type OAuthClient = {
  /** With the parameters of its URLs filled in. */
  definition: OAuthDefinition;
  clientId: string;
  /** Tried in this order. None: a public client. */
  clientSecrets: readonly SecretText[];
  fetch: Fetch;
};

/** The provider as `oauth4webapi` knows one. */
export function serverOf({ definition }: OAuthClient): AuthorizationServer {
  const { issuer, authorizationUrl, tokenUrl, deviceAuthorizationUrl, pushedAuthorizationRequestUrl, jwksUrl } =
    definition;
  return {
    // Without an issuer nothing is compared with it: id_tokens are not read then, and `iss` is not looked at.
    issuer: issuer || new URL(tokenUrl).origin,
    token_endpoint: tokenUrl,
    ...(authorizationUrl ? { authorization_endpoint: authorizationUrl } : {}),
    ...(deviceAuthorizationUrl ? { device_authorization_endpoint: deviceAuthorizationUrl } : {}),
    ...(pushedAuthorizationRequestUrl ? { pushed_authorization_request_endpoint: pushedAuthorizationRequestUrl } : {}),
    ...(jwksUrl ? { jwks_uri: jwksUrl } : {}),
    authorization_response_iss_parameter_supported: definition.sendsIss === true,
    id_token_signing_alg_values_supported: ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'],
  };
}

export function clientOf({ clientId }: OAuthClient): Client {
  return { client_id: clientId };
}

/** Plain http is a matter of addresses, which the door out decides on. */
export const insecureAllowed = { [allowInsecureRequests]: true } as const;

/**
 * Does a step with the client's first secret and, where the provider refuses it, with the next: a secret is replaced without downtime.
 * Nothing was granted or used up by a request whose client was refused (RFC 6749, section 5.2).
 */
export async function withClientSecrets<T>(client: OAuthClient, step: (auth: ClientAuth) => Promise<T>): Promise<T> {
  const { definition, clientSecrets } = client;
  if (clientSecrets.length === 0 || definition.clientAuthentication === 'none') return step(None());
  for (const [index, secret] of clientSecrets.entries()) {
    try {
      return await step(authentication(definition.clientAuthentication, secret.reveal()));
    } catch (error) {
      const last = index === clientSecrets.length - 1;
      if (last || !(error instanceof OAuthError) || !refusesClient(error)) throw error;
    }
  }
  throw new OAuthError('misconfigured', 'no client secret');
}

function authentication(method: ClientAuthentication | undefined, secret: string): ClientAuth {
  if (method === 'client_secret_as_username') return SecretAsUsername(secret);
  return method === 'client_secret_basic' ? SecretInHeader(secret) : ClientSecretPost(secret);
}

/**
 * HTTP Basic with both parts form-encoded (RFC 6749, section 2.3.1). Letters, digits and `* - . _` stay as they are, which oauth4webapi encodes too:
 * not every provider decodes.
 */
export function basicAuthorization(clientId: string, secret: string): string {
  const [id, password] = [clientId, secret].map((text) => new URLSearchParams([['', text]]).toString().slice(1));
  return `Basic ${Buffer.from(`${id}:${password}`).toString('base64')}`;
}

function SecretInHeader(secret: string): ClientAuth {
  return (_server, client, _body, headers) =>
    headers.set('authorization', basicAuthorization(client.client_id, secret));
}

function SecretAsUsername(secret: string): ClientAuth {
  return (_server, _client, _body, headers) => {
    headers.set('authorization', `Basic ${Buffer.from(`${secret}:`).toString('base64')}`);
  };
}
