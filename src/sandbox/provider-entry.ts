import type { ProviderDefinition } from '../providers/types.ts';
import { SANDBOX_SCOPES } from './scopes.ts';

/** The catalog's entry of a sandbox that runs at this address. */
export function sandboxProvider(baseUrl: string): ProviderDefinition {
  return {
    name: 'sandbox',
    displayName: 'Sandbox',
    documentationUrl: 'https://github.com/panva/node-oidc-provider',
    apiBaseUrl: baseUrl,
    oauth: {
      issuer: baseUrl,
      authorizationUrl: `${baseUrl}/auth`,
      tokenUrl: `${baseUrl}/token`,
      deviceAuthorizationUrl: `${baseUrl}/device/auth`,
      jwksUrl: `${baseUrl}/jwks`,
      sendsIss: true,
      clientCredentials: true,
      scopes: {
        separator: ' ',
        grantedSeparator: ' ',
        defaultScopes: ['notes:read'],
        always: ['openid', 'email', 'offline_access'],
        known: SANDBOX_SCOPES,
      },
      // Without it there is no refresh token (OpenID Connect Core 1.0, section 11).
      authorizationParameters: { prompt: 'consent' },
      pkce: 'S256',
      clientAuthentication: 'client_secret_basic',
      bodyFormat: 'form',
      rotation: { class: 'strict', reuseGraceS: 0 },
      revocation: {
        url: `${baseUrl}/token/revocation`,
        method: 'POST',
        authentication: 'client_secret_basic',
        bodyFormat: 'form',
        token: 'refresh_token',
        tokenParameter: 'token',
      },
      identity: {
        from: 'request',
        url: `${baseUrl}/me`,
        accountId: ['/sub'],
        email: ['/email'],
        emailVerified: '/email_verified',
        kept: { name: '/name' },
      },
    },
  };
}
