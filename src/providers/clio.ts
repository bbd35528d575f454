import type { ProviderDefinition } from './types.ts';

/** Clio Manage, the older of Clio's two products; `clio-platform` is the other. The access token is long-lived, and there is a refresh token. */
export const clio: ProviderDefinition = {
  name: 'clio',
  displayName: 'Clio Manage',
  documentationUrl: 'https://docs.developers.clio.com/api-docs/authorization',
  sources: ['https://docs.developers.clio.com/api-docs/authorization', 'https://docs.developers.clio.com/faq/'],
  verifiedAt: '2026-11-20',
  unconfirmed: ['PKCE is not documented, so it is not used.', 'The authorization parameter redirect_on_decline.'],
  parameters: [
    {
      name: 'region_host',
      description:
        'Host of the data region: United States, Europe, Canada or Australia. Ids of accounts are of one region.',
      defaultValue: 'app.clio.com',
      choices: ['app.clio.com', 'eu.app.clio.com', 'ca.app.clio.com', 'au.app.clio.com'],
    },
  ],
  apiBaseUrl: 'https://{region_host}/api/v4',
  oauth: {
    authorizationUrl: 'https://{region_host}/oauth/authorize',
    tokenUrl: 'https://{region_host}/oauth/token',
    pkce: 'none',
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    rotation: { class: 'none' },
    lifetimes: { accessTokenS: 2_592_000 },
    revocation: {
      url: 'https://{region_host}/oauth/deauthorize',
      method: 'POST',
      authentication: 'bearer',
      bodyFormat: 'none',
      token: 'access_token',
    },
    identity: {
      from: 'request',
      url: 'https://{region_host}/api/v4/users/who_am_i.json?fields=id,name,email',
      accountId: ['/data/id'],
      email: ['/data/email'],
      kept: { name: '/data/name' },
    },
  },
  keys: [
    {
      kind: 'bearer',
      displayName: 'Access token',
      check: {
        url: 'https://{region_host}/api/v4/users/who_am_i.json?fields=id,name,email',
        accountId: '/data/id',
        email: '/data/email',
      },
    },
  ],
};
