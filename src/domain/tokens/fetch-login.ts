import { hash } from 'node:crypto';
import { pointer } from '../../base/json-pointer.ts';
import { OAuthError } from '../../oauth/oauth-error.ts';
import { isHeaderText, lifetimeS } from '../../oauth/token-set.ts';
import { mergeHeaders, parse, refuseFailure, send } from '../../oauth/wire.ts';
import type { App, FetchedToken, ReadyCredential } from '../call.ts';
import { oauthFailure } from '../integrations/oauth-failure.ts';

const EARLY_MS = 30_000;
const DEFAULT_LIFE_S = 3600;

/**
 * A token that a login request answers, kept in this process until it expires.
 * Fails with INTEGRATION_MISCONFIGURED, PROVIDER_UNAVAILABLE, PROVIDER_RATE_LIMITED, AUTHORIZATION_FAILED, ADDRESS_FORBIDDEN.
 */
export async function fetchLogin(app: App, credential: ReadyCredential, minLeftMs: number): Promise<ReadyCredential> {
  const { tenantId, connectionId, fields, secrets } = credential;
  const key = JSON.stringify([tenantId, 'login', connectionId, hash('sha256', JSON.stringify([fields, secrets]))]);
  try {
    const { token, expireTime, lifetimeS } = await app.fetchedTokens.get(key, minLeftMs, () => logIn(app, credential));
    const name = String(fields.header || 'Authorization');
    const prefix = String(fields.prefix || (fields.header ? '' : 'Bearer '));
    const header = { location: 'header', name, prefix };
    return {
      ...{ ...credential, kind: 'api_key', fields: header, secrets: { key: token } },
      ...{ expireTime, lifetimeS, fetched: true },
    };
  } catch (error) {
    throw oauthFailure(error, null);
  }
}

async function logIn(app: App, credential: ReadyCredential): Promise<FetchedToken> {
  const { fields } = credential;
  const form = fields.body_format === 'form';
  const response = await send(app.egress.fetch, String(fields.url), {
    method: 'POST',
    headers: mergeHeaders({ accept: 'application/json' }, headersOf(credential), {
      'content-type': form ? 'application/x-www-form-urlencoded' : 'application/json',
    }),
    body: bodyOf(credential, form),
  });
  const document = parse(await response.text());
  refuseFailure({}, response, document);
  const token = pointer(document, String(fields.token_pointer || '/access_token'));
  if (typeof token !== 'string' || !isHeaderText(token))
    throw new OAuthError('refused', 'the login answered no token', { code: 'token_missing' });
  const expiresIn = pointer(document, String(fields.expires_in_pointer || '/expires_in'));
  const lifeS = lifetimeS(expiresIn, undefined) ?? Number(fields.lifetime_s ?? DEFAULT_LIFE_S);
  const end = app.clock.now() + lifeS * 1000;
  const until = end - Math.min(EARLY_MS, (lifeS * 1000) / 2);
  return { token, scopes: [], expireTime: new Date(end), lifetimeS: lifeS, until };
}

const HEADER = 'header ';

function headersOf({ secrets }: ReadyCredential): Record<string, string> {
  const headers = Object.entries(secrets).filter(([name]) => name.startsWith(HEADER));
  return Object.fromEntries(headers.map(([name, value]) => [name.slice(HEADER.length), value]));
}

/** The template with each secret put in, escaped for the body's format; without a template, all of them. */
function bodyOf({ fields, secrets: all }: ReadyCredential, form: boolean): string {
  const secrets = Object.fromEntries(Object.entries(all).filter(([name]) => !name.startsWith(HEADER)));
  const template = String(fields.body_template ?? '');
  if (!template) return form ? new URLSearchParams(secrets).toString() : JSON.stringify(secrets);
  return template.replace(/\{([a-zA-Z0-9_]+)\}/g, (whole, name: string) => {
    if (!Object.hasOwn(secrets, name)) return whole;
    const value = secrets[name]!;
    return form ? encodeURIComponent(value) : JSON.stringify(value).slice(1, -1);
  });
}
