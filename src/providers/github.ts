import type { ProviderDefinition } from './types.ts';

/**
 * GitHub by an OAuth app or a personal access token; `github-app` is the other kind of app. Says with status 200 that it failed. Revokes the token,
 * never the grant: that would end every connection of the user.
 */
export const github: ProviderDefinition = {
  name: 'github',
  displayName: 'GitHub',
  documentationUrl: 'https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps',
  sources: [
    'https://docs.github.com/en/apps/oauth-apps/building-oauth-apps/authorizing-oauth-apps',
    'https://docs.github.com/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/',
    'https://docs.github.com/en/rest/apps/oauth-applications',
    'https://docs.github.com/en/authentication/keeping-your-account-and-data-secure/token-expiration-and-revocation',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'The headers of rate limits.',
    'The header X-OAuth-Scopes, of classic tokens alone.',
    'What becomes of a used refresh token where an OAuth app has expiring tokens on.',
    'The forms of personal access tokens.',
  ],
  apiBaseUrl: 'https://api.github.com',
  rateLimitHeaders: [{ name: 'x-ratelimit-reset', format: 'epoch_seconds', remaining: 'x-ratelimit-remaining' }],
  oauth: {
    authorizationUrl: 'https://github.com/login/oauth/authorize',
    tokenUrl: 'https://github.com/login/oauth/access_token',
    deviceAuthorizationUrl: 'https://github.com/login/device/code',
    scopes: {
      separator: ' ',
      grantedSeparator: ',',
      known: {
        repo: 'Read and write repositories, private ones too',
        'read:org': 'Read organisations and teams',
        'user:email': 'Read the e-mail addresses',
      },
    },
    pkce: 'S256',
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    // Else the answer is form-encoded.
    tokenHeaders: { Accept: 'application/json' },
    errors: {
      failurePointer: '/error',
      failureWhen: 'present',
      permanent: ['bad_refresh_token', 'bad_verification_code', 'unverified_user_email'],
      misconfigured: ['incorrect_client_credentials', 'redirect_uri_mismatch'],
    },
    rotation: { class: 'none' },
    revocation: {
      url: 'https://api.github.com/applications/{client_id}/token',
      method: 'DELETE',
      authentication: 'client_secret_basic',
      bodyFormat: 'json',
      token: 'access_token',
      tokenParameter: 'access_token',
    },
    identity: {
      from: 'request',
      url: 'https://api.github.com/user',
      accountId: ['/id'],
      email: ['/email'],
      kept: { login: '/login' },
    },
  },
  keys: [
    {
      kind: 'bearer',
      displayName: 'Personal access token',
      // Fine-grained, classic, and classic ones of before 2021.
      patterns: { token: 'github_pat_[A-Za-z0-9_]{22,244}|ghp_[A-Za-z0-9]{36,251}|[0-9a-f]{40}' },
      check: {
        url: 'https://api.github.com/user',
        accountId: '/id',
        email: '/email',
        scopesHeader: 'X-OAuth-Scopes',
      },
    },
  ],
};
