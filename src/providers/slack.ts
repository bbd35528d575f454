import type { ProviderDefinition } from './types.ts';

/**
 * Slack. Says with status 200 that it failed. PKCE stays off: switching it on makes the app a public client for good, and shortens its refresh
 * tokens to 30 days. Tokens expire only where the app has token rotation on, and the entry holds for those apps.
 */
export const slack: ProviderDefinition = {
  name: 'slack',
  displayName: 'Slack',
  documentationUrl: 'https://docs.slack.dev/authentication/installing-with-oauth',
  sources: [
    'https://docs.slack.dev/authentication/installing-with-oauth',
    'https://docs.slack.dev/authentication/using-token-rotation',
    'https://docs.slack.dev/reference/methods/oauth.v2.access',
    'https://docs.slack.dev/reference/methods/auth.revoke',
    'https://docs.slack.dev/reference/methods/auth.test',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'The names of errors, general knowledge but for bad_client_secret, bad_redirect_uri, invalid_client_id, invalid_code.',
    'For how long a refresh token is taken after its use; taken as not at all.',
  ],
  apiBaseUrl: 'https://slack.com/api',
  oauth: {
    authorizationUrl: 'https://slack.com/oauth/v2/authorize',
    tokenUrl: 'https://slack.com/api/oauth.v2.access',
    scopes: {
      separator: ',',
      grantedSeparator: ',',
      known: {
        'chat:write': 'Post messages as the bot',
        'channels:read': 'List public channels',
        'users:read.email': 'Read the e-mail addresses of members',
        'incoming-webhook': 'Post to one channel that the user chooses',
      },
    },
    pkce: 'none',
    clientAuthentication: 'client_secret_basic',
    bodyFormat: 'form',
    answer: {
      bearerTypes: ['bot', 'user'],
      // Not incoming_webhook.url: whoever has it can post.
      kept: {
        team_id: '/team/id',
        team_name: '/team/name',
        enterprise_id: '/enterprise/id',
        app_id: '/app_id',
        bot_user_id: '/bot_user_id',
        authed_user_id: '/authed_user/id',
        incoming_webhook_channel: '/incoming_webhook/channel',
        incoming_webhook_channel_id: '/incoming_webhook/channel_id',
      },
    },
    errors: {
      failurePointer: '/ok',
      failureWhen: 'false',
      codePointer: '/error',
      permanent: [
        'invalid_refresh_token',
        'invalid_code',
        'token_revoked',
        'token_expired',
        'account_inactive',
        'invalid_auth',
      ],
      transient: ['internal_error', 'fatal_error', 'service_unavailable', 'request_timeout', 'ratelimited'],
      misconfigured: ['bad_client_secret', 'invalid_client_id', 'bad_redirect_uri', 'invalid_grant_type'],
    },
    rotation: { class: 'strict' },
    revocation: {
      url: 'https://slack.com/api/auth.revoke',
      method: 'POST',
      authentication: 'bearer',
      bodyFormat: 'none',
      token: 'access_token',
      failurePointer: '/ok',
      failureWhen: 'false',
    },
    identity: {
      from: 'request',
      url: 'https://slack.com/api/auth.test',
      method: 'POST',
      failurePointer: '/ok',
      failureWhen: 'false',
      accountId: ['/team_id', '/user_id'],
      kept: { bot_id: '/bot_id', workspace_url: '/url' },
    },
    subCredentials: [
      {
        name: 'user',
        accessToken: '/authed_user/access_token',
        refreshToken: '/authed_user/refresh_token',
        expiresIn: '/authed_user/expires_in',
        scope: '/authed_user/scope',
        // The scopes of a user are asked for as `user:chat:write`.
        scopeParameter: 'user_scope',
        scopePrefix: 'user:',
      },
    ],
  },
  keys: [
    {
      kind: 'bearer',
      displayName: 'Bot or user token',
      patterns: { token: '(xox[abpr]|xoxe|xoxe\\.xox[bp]|xapp)-[A-Za-z0-9-]+' },
      check: {
        url: 'https://slack.com/api/auth.test',
        method: 'POST',
        failurePointer: '/ok',
        failureWhen: 'false',
        accountId: '/user_id',
      },
    },
  ],
};
