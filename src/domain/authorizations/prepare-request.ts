import { generateRandomCodeVerifier } from 'oauth4webapi';
import { asksForIdToken, authorizationUrl } from '../../oauth/authorization-url.ts';
import type { OAuthSetup } from '../call.ts';
import { oauthFailure } from '../integrations/oauth-failure.ts';
import { randomText } from './secrets-of.ts';

/** A request to a provider, with what its answer is checked by. */
export type PreparedRequest = { url: string; state: string; verifier: string | null; nonce: string | null };

type Request = { redirectUri: string; scopes: readonly string[]; loginHint: string };

/** Builds the URL that a person is sent to, pushing the request where the provider wants that. Fails as the provider does. */
export async function prepareRequest(
  { client, integration }: OAuthSetup,
  { redirectUri, scopes, loginHint }: Request,
): Promise<PreparedRequest> {
  const state = randomText();
  const verifier = client.definition.pkce === 'none' ? null : generateRandomCodeVerifier();
  const nonce = asksForIdToken(client, scopes) ? randomText() : null;
  const request = { redirectUri, state, scopes, verifier, nonce, loginHint, resource: integration.resource };
  try {
    return { url: await authorizationUrl(client, request), state, verifier, nonce };
  } catch (error) {
    throw oauthFailure(error, integration.id);
  }
}
