import { LatchkeyError } from '../../base/error.ts';
import type { JsonObject } from '../../model/json.ts';
import type { IdentityDefinition } from '../../oauth/definition.ts';
import { checkKey, parametersOf } from '../../providers/provider.ts';
import { fillIn, namesIn } from '../../providers/template.ts';
import type { CheckDefinition, KeyDefinition, ProviderDefinition } from '../../providers/types.ts';
import type { KnownProvider, ReadyCredential } from '../call.ts';
import type { ConnectionView } from '../connections/connection-view.ts';
import { targetUrl } from '../requests/outgoing-request.ts';

/** A request that tells whether a credential works, without the credential. */
export type HttpCheck = Omit<CheckDefinition, 'url' | 'accountId' | 'email' | 'method'> & {
  url: URL;
  method: string;
  /** Of the provider's entry. */
  headers: Record<string, string>;
  /** Whether the URL lies on the connection's hosts. */
  ownHost: boolean;
  accountId: string[];
  email: string[];
};

/** What is known of the provider, with the values of its parameters as the integration has them; null: there is none, and the connection's config has them. */
export type CheckedProvider = KnownProvider & { parameters: Record<string, string> | null };

type Source = { view: ConnectionView; credential: ReadyCredential; provider: CheckedProvider | null };

/**
 * The request that checks a connection: its own; that of the provider's entry; a GET of the base URL. Null: it has none of these.
 * A credential goes to the connection's hosts, and to those that an entry of the catalog names: nobody else can have it sent anywhere.
 * Fails with HOST_NOT_ALLOWED, FIELD_INVALID.
 */
export function httpCheckOf(source: Source): HttpCheck | null {
  const { view, credential, provider } = source;
  const { httpCheck, kind, baseUrl } = view.connection;
  const key = provider && keyOf(provider.definition, credential);
  const plain = { headers: key?.headers ?? {}, accountId: [], email: [] };
  const below = (path: string) => ({ url: targetUrl(credential.requests, { path, query: [] }), ownHost: true });
  if (httpCheck) return { ...plain, ...below(httpCheck.path), method: httpCheck.method, outcomes: httpCheck.outcomes };
  const identity = provider?.definition.oauth?.identity;
  if (provider && kind === 'oauth2' && isRequest(identity)) return identityCheck(source, provider, identity);
  if (provider && key?.check) return keyCheck(source, provider, key, key.check);
  return baseUrl ? { ...plain, ...below(''), method: 'GET' } : null;
}

function isRequest(identity: IdentityDefinition | undefined): identity is IdentityDefinition & { url: string } {
  return identity !== undefined && (identity.from ?? 'request') === 'request' && Boolean(identity.url);
}

function identityCheck(
  { view, credential }: Source,
  provider: CheckedProvider,
  { url, method = 'GET', headers = {}, accountId, email = [], ...failure }: IdentityDefinition & { url: string },
): HttpCheck {
  const parameters = provider.parameters ?? configured(view, provider);
  const values = { ...parameters, ...(credential.fields.kept as Record<string, string> | undefined) };
  return {
    ...locate(credential, provider, url, values),
    ...{ method, headers, accountId, email },
    ...{ failurePointer: failure.failurePointer, failureWhen: failure.failureWhen },
    // A token may work and not open who it is of.
    outcomes: { 403: 'restricted' },
  };
}

function keyCheck(
  { view, credential }: Source,
  provider: CheckedProvider,
  key: KeyDefinition,
  { url, method = 'GET', accountId, email, ...rest }: CheckDefinition,
): HttpCheck {
  return {
    ...locate(credential, provider, url, { ...textsOf(credential.fields), ...configured(view, provider) }),
    ...{ ...rest, method, headers: key.headers ?? {} },
    ...{ accountId: accountId ? [accountId] : [], email: email ? [email] : [] },
  };
}

/** Values of the provider's parameters as the connection's config has them. Fails with FIELD_INVALID. */
function configured({ connection }: ConnectionView, { definition }: KnownProvider): Record<string, string> {
  const { config, kind } = connection;
  const named = (definition.parameters ?? []).map(({ name }) => name);
  const given = Object.entries(textsOf(config)).filter(([name]) => named.includes(name));
  return parametersOf(definition, Object.fromEntries(given), 'config', kind);
}

function textsOf(values: JsonObject): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).filter((entry): entry is [string, string] => typeof entry[1] === 'string'),
  );
}

/** Where a check of a provider's entry goes. */
function locate(
  { requests }: ReadyCredential,
  { definition, custom }: CheckedProvider,
  template: string,
  values: Record<string, string>,
): { url: URL; ownHost: boolean } {
  const url = new URL(filled(template, values));
  try {
    return { url: targetUrl(requests, { path: url.href, query: [] }), ownHost: true };
  } catch (error) {
    const elsewhere = error instanceof LatchkeyError && error.reason === 'HOST_NOT_ALLOWED';
    if (!elsewhere || custom || !namesItsHost(definition, template)) throw error;
    return { url, ownHost: false };
  }
}

function filled(template: string, values: Record<string, string>): string {
  try {
    return fillIn(template, values);
  } catch (cause) {
    const fields = [
      { field: 'config', description: `is not what the check of the provider needs: ${namesIn(template).join(', ')}` },
    ];
    throw new LatchkeyError('FIELD_INVALID', { fields, cause });
  }
}

/** Whether the entry itself says whose host it is: all of it, one of a list, or its domain (`{site}.example.com`). */
function namesItsHost({ parameters = [] }: ProviderDefinition, template: string): boolean {
  const host = /^https?:\/\/([^/?#]+)/.exec(template)?.[1];
  if (!host) return false;
  const isListed = (name: string) => parameters.some((known) => known.name === name && known.choices?.length);
  return namesIn(host).every(isListed) || /\}(\.[a-z0-9-]+){2,}$/i.test(host);
}

/** The form of key that a credential has, of those that the entry knows. */
function keyOf({ keys = [] }: ProviderDefinition, { kind, secrets, fields }: ReadyCredential): KeyDefinition | null {
  const forms = keys.filter((key) => key.kind === kind && (key.location ?? fields.location) === fields.location);
  return forms.find((form) => fits(form, secrets)) ?? forms[0] ?? null;
}

function fits(form: KeyDefinition, secrets: Record<string, string>): boolean {
  try {
    checkKey(form, secrets, '');
    return true;
  } catch {
    return false;
  }
}
