import { randomBytes } from 'node:crypto';
import { exportJWK, generateKeyPair } from 'jose';
import type { Configuration } from 'oidc-provider';
import { redirectUris, SANDBOX_CLIENT } from './client.ts';
import { devicePages, renderError } from './device-pages.ts';
import { memoryAdapter } from './memory-adapter.ts';
import { personOf } from './people.ts';
import { SANDBOX_SCOPES } from './scopes.ts';

const MINUTE_S = 60;
const DAY_S = 86_400;
const GRANT_TYPES = [
  'authorization_code',
  'refresh_token',
  'client_credentials',
  'urn:ietf:params:oauth:grant-type:device_code',
];

/** A strict server: PKCE for everybody, exact redirect URIs, refresh tokens that are good once. With keys made anew at each start. */
export async function oidcConfiguration(publicUrl: string): Promise<Configuration> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true });
  const key = { ...(await exportJWK(privateKey)), kid: 'sandbox', alg: 'ES256', use: 'sig' };
  return {
    adapter: memoryAdapter(),
    clients: [
      {
        client_id: SANDBOX_CLIENT.id,
        client_secret: SANDBOX_CLIENT.secret,
        client_name: 'Latchkey',
        redirect_uris: redirectUris(publicUrl),
        response_types: ['code'],
        grant_types: GRANT_TYPES,
        token_endpoint_auth_method: 'client_secret_basic',
        id_token_signed_response_alg: 'ES256',
      },
    ],
    clientDefaults: { id_token_signed_response_alg: 'ES256' },
    jwks: { keys: [key] } as NonNullable<Configuration['jwks']>,
    cookies: { keys: [randomBytes(32).toString('base64url')] },
    responseTypes: ['code'],
    pkce: { required: () => true },
    scopes: Object.keys(SANDBOX_SCOPES),
    claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'] },
    findAccount: (_ctx, sub) => accountOf(sub),
    interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` },
    rotateRefreshToken: true,
    expiresWithSession: () => false,
    clientBasedCORS: () => false,
    renderError,
    ...{ features: features(), ttl: lifetimes() },
  };
}

function accountOf(sub: string) {
  const person = personOf(sub);
  if (!person) return undefined;
  const { name, email } = person;
  return { accountId: sub, claims: () => ({ sub, name, email, email_verified: true }) };
}

function features(): NonNullable<Configuration['features']> {
  const allowedPolicy = (_ctx: unknown, client: { clientId: string }, token: { clientId?: string | undefined }) =>
    token.clientId === client.clientId;
  return {
    devInteractions: { enabled: false },
    dPoP: { enabled: false },
    resourceIndicators: { enabled: false },
    rpInitiatedLogout: { enabled: false },
    clientCredentials: { enabled: true },
    deviceFlow: { enabled: true, ...devicePages },
    introspection: { enabled: true, allowedPolicy },
    revocation: { enabled: true, allowedPolicy },
  };
}

/** In seconds. Access tokens live for a short time, so that refreshing can be watched. */
function lifetimes(): NonNullable<Configuration['ttl']> {
  return {
    AccessToken: 5 * MINUTE_S,
    ClientCredentials: 5 * MINUTE_S,
    IdToken: 5 * MINUTE_S,
    DeviceCode: 10 * MINUTE_S,
    Interaction: 10 * MINUTE_S,
    Session: DAY_S,
    RefreshToken: 14 * DAY_S,
    Grant: 14 * DAY_S,
  };
}
