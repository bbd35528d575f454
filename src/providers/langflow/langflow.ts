import type { ProviderDefinition } from '../types.ts';

/** Langflow, on a server of the tenant's own or of the operator's. Accounts there are made by Latchkey: behaviour.ts. */
export const langflow: ProviderDefinition = {
  name: 'langflow',
  displayName: 'Langflow',
  documentationUrl: 'https://docs.langflow.org/api-keys-and-authentication',
  sources: ['https://docs.langflow.org/api-reference-api-examples', 'https://github.com/langflow-ai/langflow'],
  verifiedAt: '2026-11-24',
  parameters: [
    {
      name: 'base_url',
      description:
        'Where it runs, as https://langflow.example.com. The client secret of the integration is an API key of a superuser there.',
      url: true,
    },
  ],
  keys: [
    {
      kind: 'api_key',
      displayName: 'API key',
      location: 'header',
      parameter: 'x-api-key',
    },
  ],
};
