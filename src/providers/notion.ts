import type { ProviderDefinition } from './types.ts';

const version = { 'Notion-Version': '2025-09-03' };

/** Notion. One integration may be in several workspaces; each authorization is a bot of its own. */
export const notion: ProviderDefinition = {
  name: 'notion',
  displayName: 'Notion',
  documentationUrl: 'https://developers.notion.com/guides/get-started/authorization',
  sources: [
    'https://developers.notion.com/guides/get-started/authorization',
    'https://developers.notion.com/reference/create-a-token.md',
    'https://developers.notion.com/reference/refresh-a-token.md',
    'https://developers.notion.com/reference/revoke-token',
  ],
  verifiedAt: '2026-11-20',
  unconfirmed: [
    'PKCE is used by others, and not documented.',
    'How long tokens live: answers do not say.',
    'The place of the e-mail address in the answer of users/me.',
    'For how long a refresh token is taken after its use; taken as not at all.',
    'The prefixes of internal tokens.',
  ],
  apiBaseUrl: 'https://api.notion.com',
  apiHeaders: version,
  oauth: {
    authorizationUrl: 'https://api.notion.com/v1/oauth/authorize',
    tokenUrl: 'https://api.notion.com/v1/oauth/token',
    authorizationParameters: { owner: 'user' },
    pkce: 'S256',
    clientAuthentication: 'client_secret_basic',
    bodyFormat: 'json',
    tokenHeaders: version,
    answer: {
      kept: {
        bot_id: '/bot_id',
        workspace_id: '/workspace_id',
        workspace_name: '/workspace_name',
        workspace_icon: '/workspace_icon',
        duplicated_template_id: '/duplicated_template_id',
        owner_user_id: '/owner/user/id',
      },
    },
    rotation: { class: 'strict' },
    revocation: {
      url: 'https://api.notion.com/v1/oauth/revoke',
      method: 'POST',
      authentication: 'client_secret_basic',
      bodyFormat: 'json',
      token: 'access_token',
      tokenParameter: 'token',
      headers: version,
    },
    identity: { from: 'token_answer', accountId: ['/bot_id'], email: ['/owner/user/person/email'] },
  },
  keys: [
    {
      kind: 'bearer',
      displayName: 'Internal integration token',
      patterns: { token: '(ntn|secret)_[A-Za-z0-9]+' },
      headers: version,
      check: { url: 'https://api.notion.com/v1/users/me', accountId: '/id', email: '/bot/owner/user/person/email' },
    },
  ],
};
