import type { IncomingMessage, ServerResponse } from 'node:http';
import { LatchkeyError } from '../base/error.ts';
import { type CodeName, REASONS } from '../base/reasons.ts';
import { answerCallback, boundToBrowser } from '../domain/authorizations/answer-callback.ts';
import type { AuthorizationView } from '../domain/authorizations/authorization-view.ts';
import { openAuthorization, openReconnect } from '../domain/authorizations/open-authorization.ts';
import { randomText } from '../domain/authorizations/secrets-of.ts';
import type { App } from '../domain/call.ts';
import { sendPage } from './oauth-page.ts';
import { asLatchkeyError } from './pipeline/status.ts';

/** Paths of the source systems beside our own. */
const START_PATHS = new Set(['/oauth/start', '/connections/oauth/start', '/api/connections/oauth/start']);
const CALLBACK_PATH =
  /^(\/oauth\/callback(\/[a-z0-9][a-z0-9_-]*)?|\/auth\/callback|\/connections\/oauth\/callback|\/api\/connections\/oauth\/callback)$/;

const BROWSER = /^[A-Za-z0-9_-]{43}$/;
const COOKIE_S = 900;

/** What people's browsers come to during an authorization: our start, and where providers send them back to. Answers whether the path is one of these. */
export async function serveOAuth(app: App, request: IncomingMessage, response: ServerResponse): Promise<boolean> {
  const url = URL.parse(request.url ?? '/', 'http://localhost');
  if (!url) return false;
  const starts = START_PATHS.has(url.pathname);
  if (!starts && !CALLBACK_PATH.test(url.pathname)) return false;
  if (request.method !== 'GET') {
    // HEAD, as of a link preview, uses nothing up.
    response
      .writeHead(request.method === 'HEAD' ? 200 : 405, { allow: 'GET, HEAD', 'cache-control': 'no-store' })
      .end();
    return true;
  }
  try {
    if (starts) await start(app, url, request, response);
    else await callback(app, url, request, response);
  } catch (error) {
    refuse(app, response, asLatchkeyError(error));
  }
  return true;
}

async function start(app: App, url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const browser = browserOf(app, request) ?? randomText();
  const reconnect = url.searchParams.get('reconnect');
  const location =
    reconnect === null
      ? await openAuthorization(app, url.searchParams.get('ticket') ?? '', browser)
      : await openReconnect(app, reconnect, browser);
  response.setHeader('set-cookie', cookie(app, browser));
  redirect(response, location);
}

async function callback(app: App, url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const browser = browserOf(app, request);
  if (!browser) throw new LatchkeyError('AUTHORIZATION_STATE_INVALID');
  const leaving = new AbortController();
  response.on('close', () => leaving.abort());
  const view = await answerCallback(app, {
    query: url.searchParams,
    redirectUri: `${app.publicUrl}${url.pathname}`,
    bound: boundToBrowser(browser),
    signal: leaving.signal,
  });
  const { returnUrl } = view.authorization;
  if (returnUrl) redirect(response, withOutcome(returnUrl, view));
  else sendOutcome(response, view);
}

/** 303, so that the browser comes with GET and brings no body along (RFC 9700, section 4.12). */
function redirect(response: ServerResponse, location: string): void {
  response.writeHead(303, { location, 'cache-control': 'no-store', 'referrer-policy': 'no-referrer' }).end();
}

function withOutcome(returnUrl: string, { authorization, status, reason }: AuthorizationView): string {
  const url = new URL(returnUrl);
  url.searchParams.set('authorization_id', authorization.id);
  url.searchParams.set('status', status);
  if (reason) url.searchParams.set('reason', reason);
  return url.href;
}

const ADVICE: Record<string, string> = {
  AUTHORIZATION_DENIED: 'Access was not granted. If that was a mistake, go back to the application and connect again.',
  ACCOUNT_MISMATCH:
    'You chose another account than this connection is for. Go back to the application and connect again with the first one.',
  INTEGRATION_MISCONFIGURED: 'The application is not set up as the provider wants it. Please tell its administrator.',
  INTEGRATION_DISABLED: 'The application has switched this integration off. Please ask its administrator.',
  PROVIDER_UNAVAILABLE: 'The provider does not answer. Please try again in a few minutes.',
  PROVIDER_RATE_LIMITED: 'The provider takes no more requests now. Please try again in a few minutes.',
  USER_UNKNOWN: 'Nobody here has the e-mail address of this account. Please ask the administrator of the application.',
  AUTHORIZATION_STATE_INVALID:
    'This link was used before, is older than ten minutes, or was opened in another browser. Go back to the application and connect again.',
};
/** Of pages that say what went wrong; others are 400. */
const STATUSES: { [Code in CodeName]?: number } = {
  INTERNAL: 500,
  UNAVAILABLE: 503,
  RESOURCE_EXHAUSTED: 503,
  PERMISSION_DENIED: 403,
};
const ELSE = 'Something went wrong on the way. Go back to the application and connect again.';

function sendOutcome(response: ServerResponse, { authorization, status, reason }: AuthorizationView): void {
  const good = status === 'SUCCEEDED';
  const missing = authorization.missingScopes.join(' ');
  const text = good ? 'You can close this window and go back to the application.' : (ADVICE[reason] ?? ELSE);
  sendPage(response, {
    ...{ status: good ? 200 : 400, good, text },
    title: good ? 'Your account is connected' : 'Your account was not connected',
    details: [
      ['Not granted', missing],
      ['Reason', reason],
      ['Provider said', authorization.providerError],
      ['Authorization', authorization.id],
    ],
  });
}

function refuse(app: App, response: ServerResponse, error: LatchkeyError): void {
  const { reason, metadata } = error;
  const log = { err: error.cause ?? error, reason };
  if (reason === 'INTERNAL') app.log.error(log, 'an authorization page failed');
  else app.log.info({ reason }, 'an authorization page was refused');
  sendPage(response, {
    ...{ status: STATUSES[REASONS[reason].code] ?? 400, good: false, title: 'Your account was not connected' },
    text: ADVICE[reason] ?? ELSE,
    details: [
      ['Reason', reason],
      ['Provider said', metadata.provider_error ?? ''],
    ],
  });
}

/** `__Host-` keeps other hosts of the domain from setting it; browsers take that over https alone. */
function cookieName({ publicUrl }: App): string {
  return publicUrl.startsWith('https:') ? '__Host-latchkey' : 'latchkey';
}

function cookie(app: App, value: string): string {
  const secure = app.publicUrl.startsWith('https:') ? '; Secure' : '';
  return `${cookieName(app)}=${value}; Path=/; Max-Age=${COOKIE_S}; HttpOnly; SameSite=Lax${secure}`;
}

function browserOf(app: App, request: IncomingMessage): string | null {
  const prefix = `${cookieName(app)}=`;
  const cookies = (request.headers.cookie ?? '').split(';').map((part) => part.trim());
  const value = cookies.find((part) => part.startsWith(prefix))?.slice(prefix.length) ?? '';
  return BROWSER.test(value) ? value : null;
}
