import { pointer } from '../../base/json-pointer.ts';
import { storableText } from '../../base/storable-text.ts';
import { type Finding, finding } from './check-report.ts';
import type { HttpCheck } from './http-check.ts';

type Answer = { status: number; headers: Headers; text: string };
type Rules = Pick<HttpCheck, 'outcomes' | 'failurePointer' | 'failureWhen' | 'accountId' | 'email' | 'scopesHeader'>;

const OUTCOMES = { valid: 'VALID', invalid: 'INVALID', restricted: 'RESTRICTED' } as const;
const LONGEST_TEXT = 255;
const MOST_SCOPES = 200;

/**
 * What an answer says of the credential: what the check has for its status comes first, then what HTTP means by it.
 * @param secrets of which the finding holds none, whatever the answer says
 */
export function judgeAnswer(rules: Rules, { status, headers, text }: Answer, secrets: readonly string[]): Finding {
  const document = parsed(text);
  const outcome = outcomeOf(rules, status, document);
  if (outcome !== 'VALID' && outcome !== 'RESTRICTED') return finding(outcome, status);
  const shown = (path: string) => withoutSecrets(textAt(document, path), secrets);
  const email = rules.email.map(shown).find((found) => found.includes('@'));
  const scopes = rules.scopesHeader ? headers.get(rules.scopesHeader) : null;
  return finding(outcome, status, {
    accountId: rules.accountId
      .map(shown)
      .filter((part) => part !== '')
      .join('/'),
    accountEmail: email ?? '',
    grantedScopes: scopes === null ? undefined : scopesIn(withoutSecrets(scopes, secrets)),
  });
}

function outcomeOf({ outcomes = {}, failurePointer, failureWhen }: Rules, status: number, document: unknown) {
  const told = outcomes[status];
  const known = told ? OUTCOMES[told] : usual(status);
  if (known !== 'VALID' || !failurePointer) return known;
  const found = pointer(document, failurePointer);
  const failed = failureWhen === 'false' ? found === false : found !== undefined && found !== null;
  return failed ? 'INVALID' : known;
}

function usual(status: number) {
  if (status >= 200 && status < 300) return 'VALID';
  if (status === 401) return 'INVALID';
  if (status === 429) return 'RATE_LIMITED';
  return status >= 500 ? 'UNREACHABLE' : 'UNKNOWN';
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function textAt(document: unknown, path: string): string {
  const value = pointer(document, path);
  return typeof value === 'string' || typeof value === 'number' ? storableText(String(value), LONGEST_TEXT) : '';
}

function scopesIn(text: string): string[] {
  return text
    .split(/[\s,]+/)
    .filter((scope) => scope !== '')
    .slice(0, MOST_SCOPES);
}

const SHORTEST_SECRET = 4;

/** The text; empty where it holds a secret, or a secret holds it: a server may answer what it was sent. */
function withoutSecrets(text: string, secrets: readonly string[]): string {
  const forms = secrets.flatMap((secret) => [
    secret,
    encodeURIComponent(secret),
    Buffer.from(secret).toString('base64'),
  ]);
  const tells = (form: string) =>
    form.length >= SHORTEST_SECRET && (text.includes(form) || (text.length > SHORTEST_SECRET && form.includes(text)));
  return forms.some(tells) ? '' : text;
}
