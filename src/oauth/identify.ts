import { pointer } from '../base/json-pointer.ts';
import { storableText } from '../base/storable-text.ts';
import type { Fetch } from './client.ts';
import type { IdentityDefinition } from './definition.ts';
import { keptOf, type TokenSet } from './token-set.ts';
import { type Document, mergeHeaders, parse, refuseFailure, send } from './wire.ts';

/** Whose account a grant is for. Empty where the provider does not say. */
export type Account = { id: string; email: string; emailVerified: boolean; kept: Record<string, string> };

/** Finds out whose account a token is for. Throws OAuthError where the provider fails to say. */
export async function identify(
  fetch: Fetch,
  identity: IdentityDefinition,
  tokens: TokenSet,
  callback: URLSearchParams,
): Promise<Account> {
  const document = await documentOf(fetch, identity, tokens, callback);
  const text = (path: string) => {
    const value = pointer(document, path);
    return typeof value === 'string' || typeof value === 'number' ? storableText(String(value), 255) : '';
  };
  const email = (identity.email ?? []).map(text).find((found) => found !== '') ?? '';
  return {
    id: identity.accountId
      .map(text)
      .filter((part) => part !== '')
      .join('/'),
    email: email.includes('@') ? email : '',
    emailVerified: identity.emailVerified ? pointer(document, identity.emailVerified) === true : false,
    kept: keptOf(identity.kept ?? {}, document),
  };
}

async function documentOf(
  fetch: Fetch,
  { from, url, method, headers, ...errors }: IdentityDefinition,
  tokens: TokenSet,
  callback: URLSearchParams,
): Promise<Document> {
  switch (from ?? 'request') {
    case 'token_answer':
      return tokens.document;
    case 'id_token':
      return tokens.idTokenClaims ?? {};
    case 'callback':
      return Object.fromEntries(callback);
    default: {
      const response = await send(fetch, url ?? '', {
        method: method ?? 'GET',
        headers: mergeHeaders({ accept: 'application/json' }, headers, {
          authorization: `Bearer ${tokens.accessToken}`,
        }),
      });
      const document = parse(await response.text());
      refuseFailure(errors, response, document);
      return document;
    }
  }
}
