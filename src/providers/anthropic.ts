import type { ProviderDefinition } from './types.ts';

/** Anthropic. */
export const anthropic: ProviderDefinition = {
  name: 'anthropic',
  displayName: 'Anthropic',
  documentationUrl: 'https://platform.claude.com/docs/en/api/overview',
  sources: ['https://platform.claude.com/docs/en/api/overview', 'https://platform.claude.com/docs/en/api/models-list'],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'The headers of rate limits.',
    'Admin keys are checked elsewhere (/v1/organizations/users): here one may count as invalid.',
  ],
  apiBaseUrl: 'https://api.anthropic.com',
  rateLimitHeaders: [
    {
      name: 'anthropic-ratelimit-requests-reset',
      format: 'date',
      remaining: 'anthropic-ratelimit-requests-remaining',
    },
    { name: 'anthropic-ratelimit-tokens-reset', format: 'date', remaining: 'anthropic-ratelimit-tokens-remaining' },
  ],
  keys: [
    {
      kind: 'api_key',
      displayName: 'API key',
      location: 'header',
      parameter: 'x-api-key',
      patterns: { key: 'sk-ant-[A-Za-z0-9_-]+' },
      headers: { 'anthropic-version': '2023-06-01' },
      check: { url: 'https://api.anthropic.com/v1/models', outcomes: { 401: 'invalid', 403: 'restricted' } },
    },
  ],
};
