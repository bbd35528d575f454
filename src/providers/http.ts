import type { ProviderDefinition } from './types.ts';

/** Any HTTP service that takes a key. The connection says its base URL, and the name of the header or query parameter. */
export const http: ProviderDefinition = {
  name: 'http',
  displayName: 'HTTP',
  documentationUrl: 'https://www.rfc-editor.org/rfc/rfc9110',
  sources: ['https://www.rfc-editor.org/rfc/rfc6750', 'https://www.rfc-editor.org/rfc/rfc7617'],
  verifiedAt: '2026-11-20',
  keys: [
    { kind: 'api_key', displayName: 'Key in a header', location: 'header' },
    { kind: 'api_key', displayName: 'Key in the query', location: 'query' },
    { kind: 'bearer', displayName: 'Bearer token' },
    { kind: 'basic', displayName: 'User name and password' },
  ],
};
