import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import type { RequestSettings } from '../call.ts';
import type { HttpParameters } from '../connections/http-parameters.ts';

/** Where a request goes within a connection. */
export type RequestPath = {
  /** Below the base URL; or a whole URL, whose host must be one of the connection's. */
  path: string;
  /** Added to the query that `path` has. */
  query: readonly (readonly [string, string])[];
};

/** Hop-by-hop headers, and those that the HTTP client or the credential sets (RFC 9110, sections 7.2 and 7.6.1). */
const NOT_THE_CALLERS = new Set(
  `host content-length connection keep-alive proxy-connection proxy-authorization proxy-authenticate te trailer transfer-encoding
   upgrade expect http2-settings authorization cookie`.split(/\s+/),
);

/** Whether callers may set a header of a request that carries a connection's credential. */
export function isCallersHeader(name: string): boolean {
  const lower = name.toLowerCase();
  return !NOT_THE_CALLERS.has(lower) && !lower.startsWith('proxy-');
}

/**
 * The URL of a request. It stays on the connection's hosts, and below its base URL unless it is a whole URL.
 * Fails with HOST_NOT_ALLOWED, and FIELD_INVALID that names `path`.
 */
export function targetUrl({ baseUrl, allowedHosts }: RequestSettings, { path, query }: RequestPath): URL {
  // What parsers disagree about is no path: the URL parser drops tabs and line breaks, and takes `\` for `/`.
  if (/[\\\s]|[^\x21-\x7e]/.test(path)) throw fieldInvalid('path', 'holds what must be percent-encoded in a URL');
  const base = URL.parse(baseUrl);
  const whole = /^[a-z][a-z0-9+.-]*:/i.test(path);
  if (!whole && (path.startsWith('//') || hasDotSegment(path)))
    throw fieldInvalid('path', 'must lie under the base URL: no `//` at its start, no dot segment');
  const url = whole || !base ? URL.parse(path) : below(base, path);
  if (!url || !/^https?:$/.test(url.protocol)) throw fieldInvalid('path', 'makes no http or https URL');
  if (url.username || url.password) throw fieldInvalid('path', 'holds user information');
  refuseForeignHost(url, base, allowedHosts);
  for (const [name, value] of query) addToQuery(url, name, value);
  url.hash = '';
  return url;
}

/** A credential that goes over https is not sent over http. */
function refuseForeignHost(url: URL, base: URL | null, allowedHosts: readonly string[]): void {
  const own = base !== null && url.host === base.host && (url.protocol === base.protocol || url.protocol === 'https:');
  if (own) return;
  const listed = allowedHosts.some((host) =>
    host.startsWith('*.') ? url.hostname.endsWith(host.slice(1)) : url.hostname === host,
  );
  const downgraded = url.protocol === 'http:' && base?.protocol !== 'http:';
  if (!listed || downgraded) throw new LatchkeyError('HOST_NOT_ALLOWED', { metadata: { host: url.hostname } });
}

function below(base: URL, path: string): URL {
  const url = new URL(base);
  const [, pathname = '', search = ''] = /^([^?#]*)(\?[^#]*)?/.exec(path) ?? [];
  if (pathname) url.pathname = `${url.pathname.replace(/\/+$/, '')}/${pathname.replace(/^\//, '')}`;
  const own = base.search.slice(1);
  url.search = [own, search.slice(1)].filter((part) => part !== '').join('&');
  return url;
}

/** `.` and `..`, percent-encoded too: the URL parser resolves each of them. */
function hasDotSegment(path: string): boolean {
  const [pathname = ''] = path.split(/[?#]/, 1);
  return pathname.split('/').some((segment) => /^(\.|%2e){1,2}$/i.test(segment));
}

/**
 * The headers of a request: defaults, the caller's over them, the credential's over both. Names compare without case.
 * @param callers of which those that are not the caller's to set are dropped
 */
export function requestHeaders(
  defaults: Record<string, string>,
  callers: readonly (readonly [string, string])[],
  { headers }: Pick<HttpParameters, 'headers'>,
): [string, string][] {
  const own = callers.filter(([name]) => isCallersHeader(name));
  const credentials = headers.map(({ name, value }) => [name, value] as const);
  const given = new Set([...own, ...credentials].map(([name]) => name.toLowerCase()));
  const secret = new Set(credentials.map(([name]) => name.toLowerCase()));
  return [
    ...Object.entries(defaults).filter(([name]) => !given.has(name.toLowerCase())),
    ...own.filter(([name]) => !secret.has(name.toLowerCase())),
    ...credentials,
  ].map(([name, value]) => [name, value]);
}

/** Puts query parameters of a credential into a URL, in place of those of the same name. */
export function addCredentialQuery(url: URL, { query }: Pick<HttpParameters, 'query'>): void {
  for (const { name, value } of query) {
    if (url.searchParams.has(name)) url.searchParams.delete(name);
    addToQuery(url, name, value);
  }
}

/** What is there stays as it is spelled, for a signature may be about it. */
function addToQuery(url: URL, name: string, value: string): void {
  url.search = `${url.search ? `${url.search}&` : '?'}${encodeURIComponent(name)}=${encodeURIComponent(value)}`;
}
