import type { ReadyCredential } from '../call.ts';
import type { HttpParameters } from '../connections/http-parameters.ts';

/** Cookies are the provider's with Latchkey; the others are of one connection alone (RFC 9110, section 7.6.1), or would speak for our own host. */
const NOT_SHOWN = new Set(
  `set-cookie set-cookie2 connection keep-alive proxy-connection proxy-authenticate proxy-authentication-info te trailer transfer-encoding upgrade
   alt-svc clear-site-data strict-transport-security service-worker-allowed`.split(/\s+/),
);
/** Shorter ones are found anywhere. */
const LEAST_SECRET = 6;

/** Headers of an answer that may be shown: without those that repeat the credential, in any of the ways in which it was sent. */
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
  return [...headers].flatMap(([name, value]): [string, string][] => {
    const shown = !NOT_SHOWN.has(name.toLowerCase()) && !hidden.some((form) => value.toLowerCase().includes(form));
    return shown ? [[name, value]] : [];
  });
}

function base64Of(secret: string): string[] {
  const bytes = Buffer.from(secret);
  return [bytes.toString('base64').replace(/=+$/, ''), bytes.toString('base64url')];
}
