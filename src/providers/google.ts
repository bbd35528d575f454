import type { ProviderDefinition } from './types.ts';

/** Google. Revoking ends the whole grant of this app to the account, whichever of its tokens is sent. */
export const google: ProviderDefinition = {
  name: 'google',
  displayName: 'Google',
  documentationUrl: 'https://developers.google.com/identity/protocols/oauth2/web-server',
  sources: [
    'https://developers.google.com/identity/protocols/oauth2/web-server',
    'https://developers.google.com/identity/openid-connect/openid-connect',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'refresh_token_expires_in in the answer of a consent that is limited in time.',
    'The error admin_policy_enforced, where the policy of a Workspace forbids the app.',
    'Granted scopes name `email` and `profile` by their longer names.',
    'Six months of idle time are taken as 180 days; while an app is in testing, refresh tokens live 7 days.',
  ],
  apiBaseUrl: 'https://www.googleapis.com',
  oauth: {
    authorizationUrl: 'https://accounts.google.com/o/oauth2/v2/auth',
    tokenUrl: 'https://oauth2.googleapis.com/token',
    scopes: {
      separator: ' ',
      grantedSeparator: ' ',
      // Without these two nobody could tell whose account it is.
      always: ['openid', 'email'],
      neverGranted: ['email', 'profile'],
      known: { openid: 'Know who the user is', email: 'Read the e-mail address', profile: 'Read the profile' },
    },
    // Without `offline` there is no refresh token; without `consent` there is none when the user agrees for the second time.
    authorizationParameters: { access_type: 'offline', prompt: 'consent', include_granted_scopes: 'true' },
    pkce: 'S256',
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    answer: { refreshExpiresIn: '/refresh_token_expires_in' },
    rotation: { class: 'none' },
    lifetimes: { accessTokenS: 3600, refreshTokenIdleS: 15_552_000 },
    revocation: {
      url: 'https://oauth2.googleapis.com/revoke',
      method: 'POST',
      authentication: 'none',
      bodyFormat: 'form',
      token: 'refresh_token',
      tokenParameter: 'token',
    },
    identity: {
      from: 'request',
      url: 'https://openidconnect.googleapis.com/v1/userinfo',
      accountId: ['/sub'],
      email: ['/email'],
      emailVerified: '/email_verified',
    },
  },
};
