import type { ProviderDefinition } from './types.ts';

/** Stripe, by Connect or a key. Connect's access token has no end; its refresh token only serves to change the scope. */
export const stripe: ProviderDefinition = {
  name: 'stripe',
  displayName: 'Stripe',
  documentationUrl: 'https://docs.stripe.com/connect/oauth-reference',
  sources: ['https://docs.stripe.com/connect/oauth-reference', 'https://docs.stripe.com/keys'],
  verifiedAt: '2026-11-20',
  unconfirmed: ['That deauthorization takes the secret in its body.'],
  apiBaseUrl: 'https://api.stripe.com',
  oauth: {
    authorizationUrl: 'https://connect.stripe.com/oauth/authorize',
    tokenUrl: 'https://connect.stripe.com/oauth/token',
    scopes: {
      separator: ' ',
      defaultScopes: ['read_write'],
      known: { read_only: 'Read', read_write: 'Read and write' },
    },
    pkce: 'none',
    // The secret is the platform's API key.
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    answer: {
      kept: {
        stripe_user_id: '/stripe_user_id',
        stripe_publishable_key: '/stripe_publishable_key',
        livemode: '/livemode',
      },
    },
    rotation: { class: 'none' },
    revocation: {
      url: 'https://connect.stripe.com/oauth/deauthorize',
      method: 'POST',
      authentication: 'client_secret_post',
      bodyFormat: 'form',
      token: 'none',
      parameters: { stripe_user_id: '{stripe_user_id}' },
    },
    identity: { from: 'token_answer', accountId: ['/stripe_user_id'] },
  },
  keys: [
    {
      kind: 'bearer',
      displayName: 'Secret or restricted key',
      patterns: { token: '(sk|rk)_(live|test)_[A-Za-z0-9]+' },
      check: {
        url: 'https://api.stripe.com/v1/account',
        // A restricted key that may not read the account works all the same.
        outcomes: { 401: 'invalid', 403: 'restricted' },
        accountId: '/id',
        email: '/email',
      },
    },
  ],
};
