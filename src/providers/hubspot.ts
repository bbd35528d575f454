import type { ProviderDefinition } from './types.ts';

/** HubSpot, by its dated endpoints: those of version 1 end on 2027-02-16. */
export const hubspot: ProviderDefinition = {
  name: 'hubspot',
  displayName: 'HubSpot',
  documentationUrl: 'https://developers.hubspot.com/docs/api-reference/latest/authentication/manage-oauth-tokens',
  sources: [
    'https://developers.hubspot.com/docs/api-reference/latest/authentication/manage-oauth-tokens.md',
    'https://developers.hubspot.com/docs/apps/legacy-apps/private-apps/overview',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'The headers of rate limits.',
    'That a refresh answers the same refresh token; one third party says that it rotates.',
  ],
  apiBaseUrl: 'https://api.hubapi.com',
  rateLimitHeaders: [
    {
      name: 'x-hubspot-ratelimit-interval-milliseconds',
      format: 'milliseconds',
      remaining: 'x-hubspot-ratelimit-remaining',
    },
  ],
  oauth: {
    authorizationUrl: 'https://app.hubspot.com/oauth/authorize',
    tokenUrl: 'https://api.hubapi.com/oauth/2026-03/token',
    scopes: { separator: ' ', known: { 'crm.objects.contacts.read': 'Read contacts' } },
    pkce: 'S256',
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    rotation: { class: 'none' },
    lifetimes: { accessTokenS: 1800 },
    // Ends the tokens; the app stays installed.
    revocation: {
      url: 'https://api.hubapi.com/oauth/2026-03/token/revoke',
      method: 'POST',
      authentication: 'client_secret_post',
      bodyFormat: 'form',
      token: 'refresh_token',
      tokenParameter: 'token',
      parameters: { token_type_hint: 'refresh_token' },
    },
    identity: {
      from: 'request',
      url: 'https://api.hubapi.com/account-info/v3/details',
      accountId: ['/portalId'],
    },
  },
  keys: [
    {
      kind: 'bearer',
      displayName: 'Private app access token',
      check: { url: 'https://api.hubapi.com/account-info/v3/details', accountId: '/portalId' },
    },
  ],
};
