import type { ReadyCredential } from '../call.ts';
import type { HttpParameters } from '../connections/http-parameters.ts';

/** Cookies are the provider's with Latchkey; the others are of one connection alone (RFC 9110, section 7.6.1), or would speak for our own host. */
const NOT_SHOWN = new Set(
  `set-cookie set-cookie2 connection keep-alive proxy-connection proxy-authenticate proxy-authentication-info te trailer transfer-encoding upgrade
   alt-svc clear-site-data strict-transport-security service-worker-allowed`.split(/\s+/),
);
/** Shorter ones are found anywhere. */
const LEAST_SECRET = 6;

/**
 * Headers of an answer that may be shown: without those that repeat the credential, in any of the ways in which it was sent, and those that its `Connection` header
 * says are of one connection alone.
 */
export function shownHeaders(
  headers: Iterable<readonly [string, string]>,
  { secrets }: Pick<ReadyCredential, 'secrets'>,
  parameters: HttpParameters,
): [string, string][] {
  const hidden = [...Object.values(secrets), ...[...parameters.headers, ...parameters.query].map(({ value }) => value)]
    .flatMap((secret) => [secret, secret.replace(/^\S+ /, '')])
    .filter((secret) => secret.length >= LEAST_SECRET)
    .flatMap((secret) => [secret, encodeURIComponent(secret), ...base64Of(secret)])
    .map((form) => form.toLowerCase());
  const all = [...headers];
  const ofConnection = namedByConnection(all);
  return all.flatMap(([name, value]): [string, string][] => {
    const lower = name.toLowerCase();
    const kept = !NOT_SHOWN.has(lower) && !ofConnection.has(lower);
    return kept && !hidden.some((form) => value.toLowerCase().includes(form)) ? [[name, value]] : [];
  });
}

/** The headers that are of one connection alone because a `Connection` header names them, in lower case (RFC 9110, section 7.6.1). */
export function namedByConnection(headers: Iterable<readonly [string, string]>): Set<string> {
  const options = [...headers].flatMap(([name, value]) =>
    name.toLowerCase() === 'connection' ? value.split(',') : [],
  );
  return new Set(options.map((option) => option.trim().toLowerCase()));
}

function base64Of(secret: string): string[] {
  const bytes = Buffer.from(secret);
  return [bytes.toString('base64').replace(/=+$/, ''), bytes.toString('base64url')];
}
