import {
  calculatePKCECodeChallenge,
  customFetch,
  processPushedAuthorizationResponse,
  pushedAuthorizationRequest,
} from 'oauth4webapi';
import { clientOf, insecureAllowed, type OAuthClient, serverOf, withClientSecrets } from './client.ts';
import type { OAuthDefinition } from './definition.ts';
import { OAuthError } from './oauth-error.ts';
import { asOAuthError } from './request-token.ts';
import { plainFetch } from './wire.ts';

/** What a person is sent to the provider with. */
export type AuthorizationRequest = {
  redirectUri: string;
  state: string;
  scopes: readonly string[];
  /** PKCE verifier (RFC 7636); null where the provider's entry says that it takes none. */
  verifier: string | null;
  nonce: string | null;
  loginHint: string;
  resource: string;
};

/** Whether ids of the person are asked for, in a token that can be verified. */
export function asksForIdToken({ definition }: Pick<OAuthClient, 'definition'>, scopes: readonly string[]): boolean {
  return Boolean(definition.jwksUrl && definition.issuer) && scopes.includes('openid');
}

/** The URL of the authorization endpoint, with the request in it or, where the provider takes pushed ones (RFC 9126), a reference to it. Throws OAuthError. */
export async function authorizationUrl(client: OAuthClient, request: AuthorizationRequest): Promise<string> {
  const { authorizationUrl: endpoint, pushedAuthorizationRequestUrl } = client.definition;
  if (!endpoint) throw new OAuthError('misconfigured', 'the provider has no authorization endpoint');
  const parameters = await parametersOf(client, request);
  const url = new URL(endpoint);
  const sent = pushedAuthorizationRequestUrl ? await push(client, parameters) : parameters;
  for (const [name, value] of Object.entries(sent)) url.searchParams.set(name, value);
  return url.href;
}

async function parametersOf({ definition, clientId }: OAuthClient, request: AuthorizationRequest) {
  const { scopes = {}, authorizationParameters = {} } = definition;
  const { redirectUri, state, verifier, nonce, loginHint, resource } = request;
  const separator = scopes.separator || ' ';
  const { main, further } = scopesByToken(definition, request.scopes);
  const scope = main.join(separator);
  const parameters: Record<string, string> = {
    ...authorizationParameters,
    ...(loginHint ? { login_hint: loginHint } : {}),
    ...(resource ? { resource } : {}),
    ...(nonce ? { nonce } : {}),
    ...(scope ? { [scopes.parameter || 'scope']: scope } : {}),
    ...Object.fromEntries(further.map(([parameter, own]) => [parameter, own.join(separator)])),
    response_type: 'code',
    client_id: clientId,
    redirect_uri: redirectUri,
    state,
  };
  if (!verifier) return parameters;
  return {
    ...parameters,
    code_challenge: await calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
  };
}

/** Scopes of the main token, and those of further ones by their parameter, without the prefix that tells them apart. */
function scopesByToken({ subCredentials = [] }: OAuthDefinition, scopes: readonly string[]) {
  const further = subCredentials.flatMap(({ scopeParameter, scopePrefix }): [string, string[]][] => {
    if (!scopeParameter || !scopePrefix) return [];
    const own = scopes.filter((scope) => scope.startsWith(scopePrefix));
    return own.length > 0 ? [[scopeParameter, own.map((scope) => scope.slice(scopePrefix.length))]] : [];
  });
  const prefixes = subCredentials.flatMap(({ scopePrefix }) => scopePrefix || []);
  return { main: scopes.filter((scope) => !prefixes.some((prefix) => scope.startsWith(prefix))), further };
}

/** The reference is used at once, and only once. */
async function push(client: OAuthClient, parameters: Record<string, string>): Promise<Record<string, string>> {
  const [server, own] = [serverOf(client), clientOf(client)];
  try {
    const answer = await withClientSecrets(client, async (auth) => {
      const response = await pushedAuthorizationRequest(server, own, auth, parameters, {
        ...insecureAllowed,
        [customFetch]: plainFetch(client),
      });
      return processPushedAuthorizationResponse(server, own, response);
    });
    return { client_id: client.clientId, request_uri: answer.request_uri };
  } catch (error) {
    throw asOAuthError(error);
  }
}
