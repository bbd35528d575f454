import type { ProviderDefinition } from './types.ts';

/** Any FTP server, with TLS or without. Checked by its kind: the sign-in is tried, and nothing changed. */
export const ftp: ProviderDefinition = {
  name: 'ftp',
  displayName: 'FTP',
  documentationUrl: 'https://www.rfc-editor.org/rfc/rfc959',
  sources: ['https://www.rfc-editor.org/rfc/rfc959', 'https://www.rfc-editor.org/rfc/rfc4217'],
  verifiedAt: '2026-11-20',
  unconfirmed: ['The meaning of reply codes is general knowledge.'],
  keys: [{ kind: 'ftp', displayName: 'FTP account' }],
};
