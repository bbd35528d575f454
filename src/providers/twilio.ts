import type { ProviderDefinition } from './types.ts';

/** Twilio, by an OAuth app for itself (beta, region US1 alone), an API key, or the account's own token. */
export const twilio: ProviderDefinition = {
  name: 'twilio',
  displayName: 'Twilio',
  documentationUrl: 'https://www.twilio.com/docs/iam/oauth-apps',
  sources: ['https://www.twilio.com/docs/iam/oauth-apps', 'https://www.twilio.com/docs/iam/api-keys'],
  verifiedAt: '2026-11-20',
  parameters: [
    {
      name: 'account_sid',
      description: 'Account SID, `AC` and 32 digits or letters. For keys.',
      pattern: 'AC[0-9a-fA-F]{32}',
    },
  ],
  apiBaseUrl: 'https://api.twilio.com',
  oauth: {
    tokenUrl: 'https://oauth.twilio.com/v2/token',
    clientCredentials: true,
    clientAuthentication: 'client_secret_post',
    bodyFormat: 'form',
    rotation: { class: 'none' },
    lifetimes: { accessTokenS: 3600 },
  },
  keys: [
    {
      kind: 'basic',
      displayName: 'API key and secret, or Account SID and auth token',
      // Standard keys may not read the account itself.
      check: { url: 'https://api.twilio.com/2010-04-01/Accounts/{account_sid}/Messages.json?PageSize=1' },
    },
  ],
};
