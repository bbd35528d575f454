import type { ProviderDefinition } from './types.ts';

/** QuickBooks Online. The company is told by the callback alone, as `realmId`. */
export const quickbooks: ProviderDefinition = {
  name: 'quickbooks',
  displayName: 'QuickBooks Online',
  documentationUrl:
    'https://developer.intuit.com/app/developer/qbo/docs/develop/authentication-and-authorization/oauth-2.0',
  sources: [
    'https://developer.intuit.com/app/developer/qbo/docs/develop/authentication-and-authorization/oauth-2.0',
    'https://developer.intuit.com/app/developer/qbo/docs/develop/authentication-and-authorization/faq',
    'https://github.com/intuit/QuickBooks-V3-Java-SDK/releases/tag/v6.5.4',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'The body of the revocation request.',
    'PKCE is not documented, so it is not used.',
    'The API host of production companies.',
    'Whether the old refresh token is taken after the daily change of its value; taken as not at all.',
  ],
  parameters: [
    {
      name: 'api_host',
      description: 'Host of the API: that of production or that of sandbox companies.',
      defaultValue: 'quickbooks.api.intuit.com',
      choices: ['quickbooks.api.intuit.com', 'sandbox-quickbooks.api.intuit.com'],
    },
  ],
  apiBaseUrl: 'https://{api_host}',
  oauth: {
    authorizationUrl: 'https://appcenter.intuit.com/connect/oauth2',
    tokenUrl: 'https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer',
    scopes: {
      separator: ' ',
      defaultScopes: ['com.intuit.quickbooks.accounting'],
      known: {
        'com.intuit.quickbooks.accounting': 'Read and write the books of the company',
        openid: 'Know who the user is',
        email: 'Read the e-mail address',
      },
    },
    pkce: 'none',
    clientAuthentication: 'client_secret_basic',
    bodyFormat: 'form',
    tokenHeaders: { Accept: 'application/json' },
    answer: { refreshExpiresIn: '/x_refresh_token_expires_in' },
    // The refresh token changes about once in 24 hours; whichever came last is the one to keep.
    rotation: { class: 'strict' },
    // 100 days that start anew with each use, five years in all.
    lifetimes: { accessTokenS: 3600, refreshTokenS: 8_640_000, grantS: 157_680_000 },
    revocation: {
      url: 'https://developer.api.intuit.com/v2/oauth2/tokens/revoke',
      method: 'POST',
      authentication: 'client_secret_basic',
      bodyFormat: 'json',
      token: 'refresh_token',
      tokenParameter: 'token',
    },
    identity: { from: 'callback', accountId: ['/realmId'] },
    keptCallbackParameters: ['realmId'],
  },
};
