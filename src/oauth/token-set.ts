import { pointer } from '../base/json-pointer.ts';
import { storableText } from '../base/storable-text.ts';
import type { OAuthDefinition, ScopeDefinition, SubCredentialDefinition, TokenAnswerDefinition } from './definition.ts';
import { OAuthError } from './oauth-error.ts';
import type { Document } from './wire.ts';

/** What a token endpoint granted. */
export type TokenSet = {
  accessToken: string;
  /** Null: the answer has none. */
  refreshToken: string | null;
  /** The answer had an empty refresh token, which says nothing. */
  refreshTokenEmpty: boolean;
  /** Seconds from now; null: for ever, or nobody knows. */
  expiresInS: number | null;
  refreshExpiresInS: number | null;
  /** Null: the answer does not say, which means what was requested (RFC 6749, section 5.1). */
  scopes: string[] | null;
  /** Claims of a verified id_token. */
  idTokenClaims: Document | null;
  /** What the catalog says to keep of the answer. */
  kept: Record<string, string>;
  further: FurtherToken[];
  /** The whole answer: it holds the tokens. */
  document: Document;
};

/** A further token of the same grant. */
export type FurtherToken = {
  name: string;
  accessToken: string;
  refreshToken: string | null;
  expiresInS: number | null;
  scopes: string[] | null;
};

/** No token lives longer, whatever its answer says. */
const LONGEST_LIFE_S = 315_360_000;
const LONGEST_KEPT = 1_000;

/** Reads a successful answer. Throws OAuthError where it has no token, or one of a type that is not Bearer. */
export function tokenSetOf(
  definition: OAuthDefinition,
  answer: { access_token: string; token_type: string },
  document: Document,
  idTokenClaims: Document | null,
): TokenSet {
  if (answer.token_type.toLowerCase() !== 'bearer') {
    throw new OAuthError('refused', 'the token is of a type that is not Bearer', { code: 'token_type_unknown' });
  }
  if (!isHeaderText(answer.access_token))
    throw new OAuthError('refused', 'the token holds what no header can carry', { code: 'token_invalid' });
  const { lifetimes = {}, scopes = {}, subCredentials = [] } = definition;
  const at = mainPointers(definition, document);
  const refreshToken = pointer(document, at.refreshToken || '/refresh_token');
  const further = subCredentials.flatMap((sub) => furtherToken(sub, scopes, document));
  return {
    accessToken: answer.access_token,
    refreshToken: typeof refreshToken === 'string' && refreshToken !== '' ? refreshToken : null,
    refreshTokenEmpty: refreshToken === '',
    expiresInS: lifetimeS(pointer(document, at.expiresIn || '/expires_in'), lifetimes.accessTokenS),
    refreshExpiresInS: lifetimeS(
      at.refreshExpiresIn ? pointer(document, at.refreshExpiresIn) : undefined,
      lifetimes.refreshTokenS,
    ),
    scopes: allScopes(definition, scopesOf(scopes, pointer(document, at.scope || '/scope')), document),
    idTokenClaims,
    kept: keptOf(definition.answer?.kept ?? {}, document),
    further: further.filter((token) => token.accessToken !== answer.access_token),
    document,
  };
}

/** Whether a token is of the characters that it may have (RFC 6749, appendix A.12): JSON can carry more than a header. */
export function isHeaderText(token: string): boolean {
  return /^[\x20-\x7e]+$/.test(token);
}

/** Where the main token's parts are: with a further token where a person granted that alone, as in Slack without bot scopes. */
function mainPointers(
  { answer = {}, subCredentials = [] }: OAuthDefinition,
  document: Document,
): TokenAnswerDefinition {
  const main = pointer(document, answer.accessToken || '/access_token');
  if (main !== undefined && main !== null) return answer;
  const sub = subCredentials.find(({ accessToken }) => typeof pointer(document, accessToken) === 'string');
  if (!sub) return answer;
  const nowhere = '/ ';
  const { accessToken, refreshToken = nowhere, expiresIn = nowhere, scope = nowhere } = sub;
  return { ...answer, accessToken, refreshToken, expiresIn, scope };
}

/** The main token's scopes, and those of further ones with the prefix that tells them apart. */
function allScopes({ scopes = {}, subCredentials = [] }: OAuthDefinition, main: string[] | null, document: Document) {
  const further = subCredentials.flatMap(({ scope, scopePrefix }) => {
    const own = scope && scopePrefix ? scopesOf(scopes, pointer(document, scope)) : null;
    return own?.map((name) => `${scopePrefix}${name}`) ?? [];
  });
  return main === null && further.length === 0 ? null : [...(main ?? []), ...further];
}

/**
 * A lifetime as answers say it: a number or its text. Missing or unreadable: the provider's default, null where there is none. Never before now, never more than ten years.
 */
export function lifetimeS(value: unknown, defaultS: number | undefined): number | null {
  const number = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  if (typeof number !== 'number' || Number.isNaN(number)) return defaultS || null;
  return Math.floor(Math.min(Math.max(number, 0), LONGEST_LIFE_S));
}

/** Scopes as an answer lists them: text, or an array. */
export function scopesOf({ grantedSeparator = 'any' }: ScopeDefinition, value: unknown): string[] | null {
  const separator = grantedSeparator === 'any' ? /[\s,]+/ : grantedSeparator;
  const listed = typeof value === 'string' ? value.split(separator) : value;
  if (!Array.isArray(listed)) return null;
  const scopes = listed.filter((scope) => typeof scope === 'string' && scope !== '');
  return [...new Set(scopes.map((scope) => storableText(scope, LONGEST_KEPT)))];
}

/** Texts, numbers and booleans that pointers find, as texts of at most 1,000 characters. */
export function keptOf(pointers: Record<string, string>, document: unknown): Record<string, string> {
  const found = Object.entries(pointers).flatMap(([name, path]) => {
    const value = pointer(document, path);
    return ['string', 'number', 'boolean'].includes(typeof value)
      ? [[name, storableText(String(value), LONGEST_KEPT)]]
      : [];
  });
  return Object.fromEntries(found);
}

function furtherToken(sub: SubCredentialDefinition, scopes: ScopeDefinition, document: Document): FurtherToken[] {
  const accessToken = pointer(document, sub.accessToken);
  if (typeof accessToken !== 'string' || !isHeaderText(accessToken)) return [];
  const refreshToken = sub.refreshToken ? pointer(document, sub.refreshToken) : undefined;
  return [
    {
      name: sub.name,
      accessToken,
      refreshToken: typeof refreshToken === 'string' && refreshToken !== '' ? refreshToken : null,
      expiresInS: lifetimeS(sub.expiresIn ? pointer(document, sub.expiresIn) : undefined, undefined),
      scopes: scopesOf(scopes, sub.scope ? pointer(document, sub.scope) : undefined),
    },
  ];
}
