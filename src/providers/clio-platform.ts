import type { ProviderDefinition } from './types.ts';

/** Clio Platform, the newer of Clio's two products (Clio Grow); nothing of it is shared with `clio`. */
export const clioPlatform: ProviderDefinition = {
  name: 'clio-platform',
  displayName: 'Clio Platform',
  documentationUrl: 'https://docs.developers.clio.com/api-docs/clio-platform/authorization',
  sources: [
    'https://docs.developers.clio.com/api-docs/clio-platform/authorization',
    'https://docs.developers.clio.com/api-docs/clio-platform/applications',
    'https://docs.developers.clio.com/faq/',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'Whether an app that has PKCE off in its settings ignores the challenge.',
    'Where the account of a token can be read.',
    'Hosts of regions other than the United States.',
  ],
  apiBaseUrl: 'https://api.clio.com',
  oauth: {
    authorizationUrl: 'https://auth.api.clio.com/oauth/authorize',
    tokenUrl: 'https://auth.api.clio.com/oauth/token',
    scopes: { separator: ' ' },
    pkce: 'S256',
    clientAuthentication: 'client_secret_basic',
    bodyFormat: 'form',
    rotation: { class: 'strict' },
    lifetimes: { accessTokenS: 86_400 },
    revocation: {
      url: 'https://auth.api.clio.com/oauth/revoke',
      method: 'POST',
      authentication: 'client_secret_basic',
      bodyFormat: 'form',
      token: 'refresh_token',
      tokenParameter: 'token',
    },
  },
};
