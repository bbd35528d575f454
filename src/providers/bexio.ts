import type { ProviderDefinition } from './types.ts';

const realm = 'https://auth.bexio.com/realms/bexio';

/** Bexio, whose sign-in is a Keycloak realm. With `offline_access` it gives a refresh token. */
export const bexio: ProviderDefinition = {
  name: 'bexio',
  displayName: 'Bexio',
  documentationUrl: 'https://docs.bexio.com',
  sources: [
    'https://raw.githubusercontent.com/api-evangelist/bexio/refs/heads/main/well-known/bexio-well-known.yml',
    'https://github.com/onlime/bexio-api-client/releases/tag/0.6.2',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'Endpoints are from a third-party copy of the published metadata.',
    'How long tokens live.',
    'Whether refresh tokens rotate; taken as the careful case.',
    'Where a personal access token can be checked, so that it is not.',
  ],
  apiBaseUrl: 'https://api.bexio.com',
  oauth: {
    issuer: realm,
    authorizationUrl: `${realm}/protocol/openid-connect/auth`,
    tokenUrl: `${realm}/protocol/openid-connect/token`,
    sendsIss: true,
    scopes: {
      separator: ' ',
      grantedSeparator: ' ',
      always: ['openid', 'email', 'offline_access'],
      known: {
        contact_show: 'Read contacts',
        profile: 'Read the profile of the user',
        company_profile: 'Read the profile of the company',
        offline_access: 'Stay connected: gives a refresh token',
      },
    },
    pkce: 'S256',
    clientAuthentication: 'client_secret_basic',
    bodyFormat: 'form',
    rotation: { class: 'strict' },
    revocation: {
      url: `${realm}/protocol/openid-connect/revoke`,
      method: 'POST',
      authentication: 'client_secret_basic',
      bodyFormat: 'form',
      token: 'refresh_token',
      tokenParameter: 'token',
    },
    identity: {
      from: 'request',
      url: `${realm}/protocol/openid-connect/userinfo`,
      accountId: ['/sub'],
      email: ['/email'],
      emailVerified: '/email_verified',
    },
  },
  keys: [{ kind: 'bearer', displayName: 'Personal access token' }],
};
