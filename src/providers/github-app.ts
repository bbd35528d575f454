import type { ProviderDefinition } from './types.ts';

/** A GitHub App that acts for a user, with expiring tokens (the default). Its permissions are set on the app: there are no scopes. */
export const githubApp: ProviderDefinition = {
  name: 'github-app',
  displayName: 'GitHub App',
  documentationUrl:
    'https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-user-access-token-for-a-github-app',
  sources: [
    'https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-user-access-token-for-a-github-app',
    'https://docs.github.com/en/apps/creating-github-apps/authenticating-with-a-github-app/refreshing-user-access-tokens',
    'https://docs.github.com/apps/managing-oauth-apps/troubleshooting-oauth-app-access-token-request-errors/',
    'https://docs.github.com/en/rest/apps/oauth-applications',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: ['The headers of rate limits.'],
  apiBaseUrl: 'https://api.github.com',
  rateLimitHeaders: [{ name: 'x-ratelimit-reset', format: 'epoch_seconds', remaining: 'x-ratelimit-remaining' }],
  oauth: {
    authorizationUrl: 'https://github.com/login/oauth/authorize',
    tokenUrl: 'https://github.com/login/oauth/access_token',
    deviceAuthorizationUrl: 'https://github.com/login/device/code',
    pkce: 'S256',
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    // Else the answer is form-encoded.
    tokenHeaders: { Accept: 'application/json' },
    answer: { refreshExpiresIn: '/refresh_token_expires_in' },
    errors: {
      failurePointer: '/error',
      failureWhen: 'present',
      permanent: ['bad_refresh_token', 'bad_verification_code', 'unverified_user_email'],
      misconfigured: ['incorrect_client_credentials', 'redirect_uri_mismatch'],
    },
    rotation: { class: 'strict', killsOldAccessToken: true },
    lifetimes: { accessTokenS: 28_800, refreshTokenS: 15_811_200 },
    // The token, never the grant: that would end every connection of the user.
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
};
