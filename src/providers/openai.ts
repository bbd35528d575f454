import type { ProviderDefinition } from './types.ts';

/** OpenAI. A key of several organisations or projects takes `OpenAI-Organization` and `OpenAI-Project` as the connection's own headers. */
export const openai: ProviderDefinition = {
  name: 'openai',
  displayName: 'OpenAI',
  documentationUrl: 'https://platform.openai.com/docs/api-reference/authentication',
  sources: [
    'https://platform.openai.com/docs/api-reference/authentication',
    'https://platform.openai.com/docs/api-reference/models/list',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'x-ratelimit-reset-requests is a duration, as `6m0s`, and not seconds.',
    'Admin keys are checked elsewhere (/v1/organization/users): here one may count as restricted.',
  ],
  apiBaseUrl: 'https://api.openai.com',
  rateLimitHeaders: [
    { name: 'x-ratelimit-reset-requests', format: 'duration', remaining: 'x-ratelimit-remaining-requests' },
    { name: 'x-ratelimit-reset-tokens', format: 'duration', remaining: 'x-ratelimit-remaining-tokens' },
  ],
  keys: [
    {
      kind: 'bearer',
      displayName: 'API key',
      patterns: { token: 'sk-[A-Za-z0-9_-]+' },
      check: { url: 'https://api.openai.com/v1/models', outcomes: { 401: 'invalid', 403: 'restricted' } },
    },
  ],
};
