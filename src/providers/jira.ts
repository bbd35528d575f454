import type { ProviderDefinition } from './types.ts';

/**
 * Jira, by Atlassian's OAuth 2.0 (3LO) or an API token. No revocation: Atlassian has none for one token, the user removes the app in the account's
 * settings. A dead refresh token is answered with 403 and `invalid_grant`; the code counts, not the status.
 */
export const jira: ProviderDefinition = {
  name: 'jira',
  displayName: 'Jira',
  documentationUrl: 'https://developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps/',
  sources: [
    'https://developer.atlassian.com/cloud/jira/platform/oauth-2-3lo-apps/',
    'https://developer.atlassian.com/cloud/oauth/getting-started/refresh-tokens',
    'https://nango.dev/blog/jira-oauth-refresh-token-invalid-grant',
    'https://mrrefactoring.github.io/jira.js/guide/oauth2-authentication',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'PKCE is used by others, and not documented.',
    'That an unused refresh token dies after 90 days, from a third party.',
    'How long a used refresh token is still taken; some name a short window, taken as none.',
    'access_denied at the token endpoint for a wrong client secret, from a third party.',
  ],
  parameters: [
    {
      name: 'site',
      description: 'First part of the site’s address, as `example` of example.atlassian.net. For API tokens.',
      pattern: '[A-Za-z0-9][A-Za-z0-9-]*',
    },
  ],
  apiBaseUrl: 'https://api.atlassian.com',
  oauth: {
    authorizationUrl: 'https://auth.atlassian.com/authorize',
    tokenUrl: 'https://auth.atlassian.com/oauth/token',
    scopes: {
      separator: ' ',
      grantedSeparator: ' ',
      defaultScopes: ['read:jira-work', 'read:jira-user'],
      // The first gives a refresh token, the second tells whose account it is.
      always: ['offline_access', 'read:me'],
      known: {
        'read:me': 'Read the own profile',
        'read:jira-work': 'Read projects and issues',
        'write:jira-work': 'Create and change issues',
        'read:jira-user': 'Read users',
      },
    },
    authorizationParameters: { audience: 'api.atlassian.com', prompt: 'consent' },
    pkce: 'S256',
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'json',
    errors: { misconfigured: ['access_denied'] },
    rotation: { class: 'strict' },
    lifetimes: { accessTokenS: 3600, refreshTokenIdleS: 7_776_000 },
    identity: {
      from: 'request',
      url: 'https://api.atlassian.com/me',
      accountId: ['/account_id'],
      email: ['/email'],
      kept: { name: '/name' },
    },
  },
  keys: [
    {
      kind: 'basic',
      displayName: 'E-mail address and API token',
      check: {
        url: 'https://{site}.atlassian.net/rest/api/3/myself',
        outcomes: { 401: 'invalid', 403: 'invalid' },
        accountId: '/accountId',
        email: '/emailAddress',
      },
    },
  ],
};
