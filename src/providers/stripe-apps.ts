import type { ProviderDefinition } from './types.ts';

/** Stripe Apps, whose tokens expire and rotate. Test and live mode have keys of their own, and so integrations of their own. */
export const stripeApps: ProviderDefinition = {
  name: 'stripe-apps',
  displayName: 'Stripe Apps',
  documentationUrl: 'https://docs.stripe.com/stripe-apps/api-authentication/oauth',
  sources: ['https://docs.stripe.com/stripe-apps/api-authentication/oauth'],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'How a grant is revoked, other than by uninstalling the app.',
    'For how long a refresh token is taken after its use; taken as not at all.',
  ],
  apiBaseUrl: 'https://api.stripe.com',
  oauth: {
    authorizationUrl: 'https://marketplace.stripe.com/oauth/v2/authorize',
    tokenUrl: 'https://api.stripe.com/v1/oauth/token',
    pkce: 'none',
    // The secret is the platform's API key.
    clientAuthentication: 'client_secret_as_username',
    bodyFormat: 'form',
    answer: { kept: { stripe_user_id: '/stripe_user_id', livemode: '/livemode' } },
    rotation: { class: 'strict' },
    // An hour and a year.
    lifetimes: { accessTokenS: 3600, refreshTokenS: 31_536_000 },
    identity: { from: 'token_answer', accountId: ['/stripe_user_id'] },
  },
};
