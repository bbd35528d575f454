import type { Dispatcher } from 'undici';
import { EgressError } from './egress-error.ts';

/** A part of what the global `fetch` takes. Redirects are never followed, whatever is asked. */
export type EgressInit = {
  /** GET by default. */
  method?: string;
  /** All but `host`, which the URL gives. */
  headers?: Headers | Record<string, string> | readonly (readonly [string, string])[];
  body?: string | URLSearchParams | Uint8Array | null;
  /** Ends the call: as `timeout` where it is of AbortSignal.timeout, else as `aborted`. */
  signal?: AbortSignal | null;
  /** Instead of the door's own. */
  timeoutMs?: number;
  /** Instead of the door's own. */
  maxBodyBytes?: number;
  /** On a connection of its own. */
  fresh?: boolean;
  /** Asked when the connection stands and the first byte is about to leave; false: nothing is sent, and the call ends as `aborted`. */
  mayLeave?: () => boolean;
};

const CONTENT_TYPES = { form: 'application/x-www-form-urlencoded;charset=UTF-8', text: 'text/plain;charset=UTF-8' };

/** Where a call goes. Fails with EgressError of the kind `protocol` where it is not http or https, or names a user. */
export function targetOf(url: string | URL): URL {
  const target = URL.parse(String(url));
  const refuse = (detail: string) =>
    new EgressError('protocol', { host: target?.hostname ?? 'the URL', sent: false, detail });
  if (!target) throw refuse('not a URL');
  if (target.protocol !== 'http:' && target.protocol !== 'https:') throw refuse('neither http nor https');
  if (target.username || target.password) throw refuse('user information in the URL');
  return target;
}

/** The request as undici takes it. Fails with EgressError of the kind `protocol`. */
export function requestTo(
  target: URL,
  { method = 'GET', headers, body, fresh }: EgressInit,
): Dispatcher.DispatchOptions {
  const refuse = (detail: string) => new EgressError('protocol', { host: target.hostname, sent: false, detail });
  // TRACE has the other side repeat what it was sent, the credential too (RFC 9110, section 9.3.8).
  if (!/^[A-Za-z-]+$/.test(method) || /^(connect|trace|track)$/i.test(method)) throw refuse('the method');
  const all = readHeaders(headers);
  if (!all) throw refuse('a header');
  if (all.has('host')) throw refuse('a host header');
  const contentType = body instanceof URLSearchParams ? CONTENT_TYPES.form : CONTENT_TYPES.text;
  if ((typeof body === 'string' || body instanceof URLSearchParams) && !all.has('content-type'))
    all.set('content-type', contentType);
  if (!all.has('accept-encoding')) all.set('accept-encoding', 'identity');
  if (!all.has('user-agent')) all.set('user-agent', 'latchkey');
  return {
    ...{ origin: target.origin, path: `${target.pathname}${target.search}`, method: method.toUpperCase() },
    headers: [...all].flat(),
    body: body instanceof URLSearchParams ? body.toString() : body,
    ...(fresh ? { reset: true } : {}),
  };
}

/** Null where one cannot be sent. The global Headers would trim a line break at the end, which is better refused. */
function readHeaders(given: EgressInit['headers'] = {}): Headers | null {
  const pairs = Symbol.iterator in given ? [...given] : Object.entries(given);
  if (pairs.some(([, value]) => /[\r\n\0]/.test(value))) return null;
  try {
    return new Headers(pairs as [string, string][]);
  } catch {
    return null;
  }
}
