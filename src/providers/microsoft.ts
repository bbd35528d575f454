import type { ProviderDefinition } from './types.ts';

/**
 * Microsoft Entra ID and Graph. No revocation: Entra has none for one token, and `revokeSignInSessions` would end the sessions of every app.
 * No issuer and no keys: with `common` the id_token's issuer holds the user's own tenant, which nobody knows beforehand.
 */
export const microsoft: ProviderDefinition = {
  name: 'microsoft',
  displayName: 'Microsoft',
  documentationUrl: 'https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-auth-code-flow',
  sources: [
    'https://learn.microsoft.com/en-us/entra/identity-platform/v2-oauth2-auth-code-flow',
    'https://learn.microsoft.com/en-us/entra/identity-platform/refresh-tokens',
    'https://learn.microsoft.com/en-us/javascript/api/@azure/msal-node/interactionrequiredautherrorcodes',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'consent_required and login_required are errors of the service by its client library, not seen at this endpoint.',
  ],
  parameters: [
    {
      name: 'tenant',
      description: 'Directory (tenant) id or domain; `common`, `organizations` or `consumers` for accounts of any.',
      defaultValue: 'common',
    },
  ],
  apiBaseUrl: 'https://graph.microsoft.com/v1.0',
  oauth: {
    authorizationUrl: 'https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize',
    tokenUrl: 'https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token',
    deviceAuthorizationUrl: 'https://login.microsoftonline.com/{tenant}/oauth2/v2.0/devicecode',
    scopes: {
      separator: ' ',
      grantedSeparator: ' ',
      defaultScopes: ['User.Read'],
      always: ['offline_access'],
      neverGranted: ['offline_access'],
      known: {
        'User.Read': 'Sign in and read the own profile',
        offline_access: 'Stay connected: gives a refresh token',
      },
    },
    authorizationParameters: { response_mode: 'query' },
    pkce: 'S256',
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    errors: { permanent: ['interaction_required', 'consent_required', 'login_required'] },
    // A refresh brings a new refresh token, and the old one is not revoked.
    rotation: { class: 'soft' },
    // The access token lives 60 to 90 minutes, by chance; the refresh token 90 days (24 hours in single-page apps).
    lifetimes: { accessTokenS: 3600, refreshTokenS: 7_776_000 },
    identity: {
      from: 'request',
      url: 'https://graph.microsoft.com/v1.0/me',
      accountId: ['/id'],
      email: ['/mail', '/userPrincipalName'],
      kept: { user_principal_name: '/userPrincipalName', display_name: '/displayName' },
    },
  },
};
