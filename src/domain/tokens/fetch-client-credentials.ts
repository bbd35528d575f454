import { createHash } from 'node:crypto';
import { SecretText } from '../../base/secret-text.ts';
import type { OAuthClient } from '../../oauth/client.ts';
import { clientCredentials } from '../../oauth/client-credentials.ts';
import type { ClientAuthentication } from '../../oauth/definition.ts';
import { OAuthError } from '../../oauth/oauth-error.ts';
import { refusesClient } from '../../oauth/refuses-client.ts';
import type { TokenSet } from '../../oauth/token-set.ts';
import { systemCall } from '../access/principal.ts';
import type { App, Call, FetchedToken, ReadyCredential } from '../call.ts';
import { noteClientError } from '../integrations/note-client-error.ts';
import { oauthFailure } from '../integrations/oauth-failure.ts';
import { loadOAuthSetupOf } from '../integrations/oauth-setup.ts';

/** A token is fetched anew this long before it expires. */
const EARLY_MS = 30_000;
/** Where the answer does not say how long it lives. */
const DEFAULT_LIFE_S = 300;

/** A token for a client itself, kept in this process until 30 s before it expires. Fails with INTEGRATION_MISCONFIGURED, PROVIDER_UNAVAILABLE, PROVIDER_RATE_LIMITED, AUTHORIZATION_FAILED, ADDRESS_FORBIDDEN. */
export async function fetchClientCredentials(
  { app }: Call,
  credential: ReadyCredential,
  minLeftMs: number,
): Promise<ReadyCredential> {
  const { tenantId, integrationId, fields } = credential;
  const client = await clientOf(app, credential);
  const request = {
    scopes: (fields.scopes as string[] | undefined) ?? [],
    audience: String(fields.audience ?? ''),
    resource: String(fields.resource ?? ''),
  };
  const { tokenUrl } = client.definition;
  const key = JSON.stringify([tenantId, tokenUrl, client.clientId, hashOf(client), request]);
  try {
    const token = await app.fetchedTokens.get(key, minLeftMs, async () =>
      fetched(app, await clientCredentials(client, request), request.scopes),
    );
    const { scopes, expireTime, lifetimeS } = token;
    const secrets = { access_token: token.token };
    return { ...credential, kind: 'oauth2', fields: { scopes }, secrets, expireTime, lifetimeS, fetched: true };
  } catch (error) {
    if (integrationId && error instanceof OAuthError && refusesClient(error))
      await noteClientError(systemCall(app, tenantId), integrationId, error.code);
    throw oauthFailure(error, integrationId);
  }
}

async function clientOf(app: App, { tenantId, integrationId, fields, secrets }: ReadyCredential): Promise<OAuthClient> {
  if (integrationId && !fields.token_url) return (await loadOAuthSetupOf(app, tenantId, integrationId)).client;
  const clientAuthentication = (fields.client_authentication || 'client_secret_post') as ClientAuthentication;
  return {
    definition: { tokenUrl: String(fields.token_url), clientAuthentication },
    clientId: String(fields.client_id),
    clientSecrets: secrets.client_secret ? [new SecretText(secrets.client_secret)] : [],
    fetch: app.egress.fetch,
  };
}

/** Who has another secret gets no token that this one was given. */
function hashOf({ clientSecrets }: OAuthClient): string {
  const hash = createHash('sha256');
  for (const secret of clientSecrets) hash.update(`${secret.reveal().length} ${secret.reveal()}`);
  return hash.digest('base64');
}

function fetched(app: App, tokens: TokenSet, requested: readonly string[]): FetchedToken {
  const lifetimeS = tokens.expiresInS ?? DEFAULT_LIFE_S;
  const end = app.clock.now() + lifetimeS * 1000;
  const scopes = [...(tokens.scopes ?? requested)];
  return { token: tokens.accessToken, scopes, expireTime: new Date(end), lifetimeS, until: end - EARLY_MS };
}
