/** The sandbox's one client. Its secret is none: the sandbox is reached from this machine alone and holds no account of anybody. */
export const SANDBOX_CLIENT = { id: 'latchkey-sandbox', secret: 'sandbox-not-secret' } as const;

/** Where the sandbox sends people back to, by exact match: the path of its own, the shared one, and the aliases of both. */
const REDIRECT_PATHS = [
  '/oauth/callback',
  '/oauth/callback/sandbox',
  '/auth/callback',
  '/connections/oauth/callback',
  '/api/connections/oauth/callback',
];

/** The redirect URIs of a Latchkey that browsers reach here. */
export function redirectUris(publicUrl: string): string[] {
  return REDIRECT_PATHS.map((path) => `${publicUrl}${path}`);
}
