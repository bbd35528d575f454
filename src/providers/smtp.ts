import type { ProviderDefinition } from './types.ts';

/** Any mail server. Checked by its kind: the sign-in is tried, and nothing sent. */
export const smtp: ProviderDefinition = {
  name: 'smtp',
  displayName: 'SMTP',
  documentationUrl: 'https://www.rfc-editor.org/rfc/rfc4954',
  sources: ['https://www.rfc-editor.org/rfc/rfc4954', 'https://www.rfc-editor.org/rfc/rfc3207'],
  verifiedAt: '2026-11-20',
  unconfirmed: ['The meaning of reply codes is general knowledge.'],
  keys: [{ kind: 'smtp', displayName: 'Mail account' }],
};
