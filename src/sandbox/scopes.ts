/** What the sandbox can grant, as people are asked for it. */
export const SANDBOX_SCOPES: Record<string, string> = {
  openid: 'Know who you are',
  email: 'Read your e-mail address',
  profile: 'Read your name',
  offline_access: 'Stay connected: gives a refresh token',
  'notes:read': 'Read your notes (pretended: there are none)',
  'notes:write': 'Write notes (pretended, too)',
};
