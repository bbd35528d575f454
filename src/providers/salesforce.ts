import type { ProviderDefinition } from './types.ts';

/** Salesforce. Its token answers do not say how long a token lives: the session policy of the organisation does, which introspection tells. */
export const salesforce: ProviderDefinition = {
  name: 'salesforce',
  displayName: 'Salesforce',
  documentationUrl: 'https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_web_server_flow.htm',
  sources: [
    'https://help.salesforce.com/s/articleView?id=sf.remoteaccess_oauth_web_server_flow.htm',
    'https://help.salesforce.com/apex/HTViewHelpDoc?id=remoteaccess_oauth_refresh_token_flow.htm&language=en_US',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'That the user information endpoint answers to the scope `id`.',
    'INVALID_SESSION_ID, with 401, as the answer of the API to an expired token.',
  ],
  parameters: [
    {
      name: 'domain',
      description:
        '`login`, `test` for sandboxes, or My Domain with `.my`, as `example.my` or `example--dev.sandbox.my`.',
      defaultValue: 'login',
      pattern: 'login|test|[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*\\.my',
    },
  ],
  apiBaseUrl: 'https://{domain}.salesforce.com',
  oauth: {
    authorizationUrl: 'https://{domain}.salesforce.com/services/oauth2/authorize',
    tokenUrl: 'https://{domain}.salesforce.com/services/oauth2/token',
    scopes: {
      separator: ' ',
      grantedSeparator: ' ',
      defaultScopes: ['api', 'id'],
      always: ['refresh_token'],
      known: { api: 'Use the API', id: 'Know who the user is', refresh_token: 'Stay connected: gives a refresh token' },
    },
    authorizationParameters: { prompt: 'consent' },
    pkce: 'S256',
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    answer: { kept: { instance_url: '/instance_url', identity_url: '/id' }, baseUrlFrom: 'instance_url' },
    // Where the app has Refresh Token Rotation on, each one works once; elsewhere no new one comes.
    rotation: { class: 'strict' },
    // Two hours is the usual policy, where introspection cannot tell.
    lifetimes: { accessTokenS: 7200, introspectionUrl: 'https://{domain}.salesforce.com/services/oauth2/introspect' },
    revocation: {
      url: 'https://{domain}.salesforce.com/services/oauth2/revoke',
      method: 'POST',
      authentication: 'none',
      bodyFormat: 'form',
      token: 'refresh_token',
      tokenParameter: 'token',
    },
    identity: {
      from: 'request',
      url: 'https://{domain}.salesforce.com/services/oauth2/userinfo',
      accountId: ['/organization_id', '/user_id'],
      email: ['/email'],
      emailVerified: '/email_verified',
      kept: { organization_id: '/organization_id', user_id: '/user_id' },
    },
  },
};
