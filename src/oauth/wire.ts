import { LatchkeyError } from '../base/error.ts';
import { pointer } from '../base/json-pointer.ts';
import { retryAfterMs } from '../base/retry-after.ts';
import { EgressError } from '../egress/egress-error.ts';
import type { Fetch, FetchInit, OAuthClient } from './client.ts';
import type { ErrorDefinition, OAuthDefinition } from './definition.ts';
import { OAuthError, type OAuthFailure } from './oauth-error.ts';

/** A provider's answer, parsed. */
export type Document = Record<string, unknown>;

/** Codes of RFC 6749 (sections 4.1.2.1 and 5.2), RFC 8628 (3.5), RFC 8707 and RFC 9126, and what they mean. */
const FAILURES: Record<string, OAuthFailure> = {
  invalid_grant: 'grant_dead',
  access_denied: 'denied',
  authorization_pending: 'pending',
  slow_down: 'slow_down',
  expired_token: 'grant_dead',
  temporarily_unavailable: 'unavailable',
  server_error: 'unavailable',
  invalid_client: 'misconfigured',
  unauthorized_client: 'misconfigured',
  unsupported_grant_type: 'misconfigured',
  invalid_request: 'misconfigured',
  invalid_scope: 'misconfigured',
  invalid_target: 'misconfigured',
};

const LONGEST_WAIT_MS = 3_600_000;

/**
 * A fetch for `oauth4webapi` that speaks the provider's dialect: requests in its body format and with its headers; of its answers it lets through
 * only successes, made to look as RFC 6749 has them. `heard` gets each answer as the provider gave it.
 * Throws OAuthError for every failure, those with status 200 too.
 */
export function wireFetch({ definition, fetch }: OAuthClient, heard: (document: Document) => void = () => {}): Fetch {
  return async (url, init) => {
    const response = await send(fetch, url, request(definition, init));
    const text = await response.text();
    const document = parse(text);
    refuseFailure(definition.errors ?? {}, response, document);
    heard(document);
    return Response.json(standardAnswer(definition, document), { status: response.status });
  };
}

/** The same without the dialect: requests with these headers more, and successes as they came. */
export function plainFetch({ definition, fetch }: OAuthClient, headers?: Record<string, string>): Fetch {
  return async (url, init) => {
    const response = await send(fetch, url, { ...init, headers: mergeHeaders(init.headers, headers) });
    refuseFailure(definition.errors ?? {}, response, parse(await response.clone().text()));
    return response;
  };
}

/** Sends, and says of what never got an answer that it may pass by itself. */
export async function send(fetch: Fetch, url: string, init: FetchInit): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch (cause) {
    if (cause instanceof LatchkeyError) throw cause;
    const unanswered = cause instanceof EgressError && !cause.sent ? 'not_sent' : 'unknown';
    throw new OAuthError('unavailable', 'the provider did not answer', { code: 'no_answer', unanswered, cause });
  }
}

function request({ bodyFormat, tokenHeaders }: OAuthDefinition, init: FetchInit): FetchInit {
  const headers = mergeHeaders(init.headers, tokenHeaders);
  if (bodyFormat !== 'json' || !(init.body instanceof URLSearchParams)) return { ...init, headers };
  const body = JSON.stringify(Object.fromEntries(init.body));
  return { ...init, body, headers: { ...headers, 'content-type': 'application/json' } };
}

/** Headers in lower case; of those with one name the last counts. Left apart, both would be sent. */
export function mergeHeaders(...parts: (Record<string, string> | undefined)[]): Record<string, string> {
  const all = parts.flatMap((headers = {}) => Object.entries(headers));
  return Object.fromEntries(all.map(([name, value]) => [name.toLowerCase(), value]));
}

/** JSON or, as GitHub answers where it was not asked for JSON, a form. An empty document for anything else. */
export function parse(text: string): Document {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Document) : {};
  } catch {
    if (!/^[\w.-]+=[^<\s]*$/.test(text)) return {};
    return Object.fromEntries(new URLSearchParams(text));
  }
}

/** Throws OAuthError where an answer says that it is none of success. */
export function refuseFailure(errors: ErrorDefinition, response: Response, document: Document): void {
  const { status } = response;
  const found = pointer(document, errors.codePointer || '/error');
  const code = typeof found === 'string' ? found : '';
  const failed = status < 200 || status >= 300;
  if (!failed && !saysFailure(errors, document)) return;
  const failure = failureOf(errors, code, status);
  const retryAfterMs = retryAfter(response.headers.get('retry-after'));
  throw new OAuthError(failure, `the provider answered ${status}`, {
    code: code || `http_${status}`,
    status,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
  });
}

function saysFailure({ failurePointer, failureWhen }: ErrorDefinition, document: Document): boolean {
  if (!failurePointer) return typeof document.error === 'string' && document.access_token === undefined;
  const found = pointer(document, failurePointer);
  return failureWhen === 'false' ? found === false : found !== undefined && found !== null;
}

/** The provider's own list comes before the standards', and a known code before the status: Atlassian says invalid_grant with 403. */
function failureOf(errors: ErrorDefinition, code: string, status: number): OAuthFailure {
  if (errors.permanent?.includes(code)) return 'grant_dead';
  if (errors.transient?.includes(code)) return 'unavailable';
  if (errors.misconfigured?.includes(code)) return 'misconfigured';
  if (status === 429) return 'rate_limited';
  if (status >= 500) return 'unavailable';
  if (Object.hasOwn(FAILURES, code)) return FAILURES[code]!;
  if (status === 401) return 'misconfigured';
  return 'refused';
}

/** What the error code of an authorization endpoint means, which comes without a status. */
export function failureOfCode(errors: ErrorDefinition, code: string): OAuthFailure {
  return failureOf(errors, code, 0);
}

/** An hour at most. */
function retryAfter(value: string | null): number | undefined {
  const ms = retryAfterMs(value, Date.now());
  return ms === null ? undefined : Math.min(ms, LONGEST_WAIT_MS);
}

/** As RFC 6749, section 5.1, has it. Lifetimes are left out: `tokenSetOf` reads them, for providers say them in many ways. */
function standardAnswer(definition: OAuthDefinition, document: Document): Document {
  const { answer = {}, jwksUrl, issuer } = definition;
  const tokenType = document.token_type;
  const type = typeof tokenType === 'string' && tokenType !== '' ? tokenType : 'bearer';
  const bearer = answer.bearerTypes?.some((known) => known.toLowerCase() === type.toLowerCase());
  const accessToken = firstAccessToken(definition, document);
  const { error: _, token_type: __, expires_in: ___, refresh_token: ____, scope: _____, id_token, ...rest } = document;
  return {
    ...rest,
    ...(accessToken === undefined ? {} : { access_token: accessToken }),
    token_type: bearer ? 'bearer' : type,
    // An id_token that cannot be verified is not read.
    ...(jwksUrl && issuer && typeof id_token === 'string' ? { id_token } : {}),
  };
}

/** The main token or, where a person granted none to it, the first of the further ones: Slack without bot scopes. */
function firstAccessToken({ answer = {}, subCredentials = [] }: OAuthDefinition, document: Document): unknown {
  const main = pointer(document, answer.accessToken || '/access_token');
  if (main !== undefined && main !== null) return main;
  return subCredentials.map((sub) => pointer(document, sub.accessToken)).find((token) => typeof token === 'string');
}
