import { fieldInvalid } from '../base/error.ts';
import type { OAuthDefinition } from '../oauth/definition.ts';
import { matchesWhole } from './pattern.ts';
import { fillIn, isBaseUrl, isUrlPart, namesIn } from './template.ts';
import type { KeyDefinition, ProviderDefinition, ProviderParameter } from './types.ts';

/** Seconds for which a provider must take a used refresh token, so that one crash in a refresh costs nothing: k·(L+S)+D of refresh.md, for k = 1. */
export const ONE_CRASH_BOUND_S = 27;

/** What a parameter without a pattern may hold. */
const DEFAULT_PATTERN = '[A-Za-z0-9._-]+';

/** Kinds of connection that can be made: `oauth2`, `client_credentials`, then those of the keys, each once. */
export function kindsOf({ oauth, keys = [] }: ProviderDefinition): string[] {
  const kinds: string[] = keys.map(({ kind }) => kind);
  if (oauth?.clientCredentials) kinds.unshift('client_credentials');
  if (oauth?.authorizationUrl || oauth?.deviceAuthorizationUrl) kinds.unshift('oauth2');
  return [...new Set(kinds)];
}

/** Whether a crash in the middle of a refresh can cost a refresh token, where another attempt comes only after the bound. */
export function isAtRisk({ oauth }: ProviderDefinition, boundS: number): boolean {
  return oauth?.rotation?.class === 'strict' && (oauth.rotation.reuseGraceS ?? 0) < boundS;
}

/**
 * Values of all parameters: those given, defaults for the rest. An empty value is none. Where a kind is named, only the parameters in its own URLs
 * must have one. Fails with FIELD_INVALID, naming `field["name"]`.
 */
export function parametersOf(
  definition: ProviderDefinition,
  given: Record<string, string>,
  field: string,
  kind?: string,
): Record<string, string> {
  const parameters = definition.parameters ?? [];
  const known = new Set(parameters.map(({ name }) => name));
  const at = (name: string) => `${field}[${JSON.stringify(name)}]`;
  for (const name of Object.keys(given)) {
    if (!known.has(name)) throw fieldInvalid(at(name), `is no parameter of ${definition.name}`);
  }
  const needed = kind === undefined ? known : new Set(urlsOfKind(definition, kind).flatMap(namesIn));
  const values: [string, string][] = [];
  for (const parameter of parameters) {
    const { name, defaultValue = '' } = parameter;
    const value = (Object.hasOwn(given, name) && given[name]) || defaultValue;
    if (value) {
      const fault = parameterFault(parameter, value);
      if (fault) throw fieldInvalid(at(name), fault);
      values.push([name, value]);
    } else if (needed.has(name)) throw fieldInvalid(at(name), 'is needed');
  }
  return Object.fromEntries(values);
}

/** What is wrong with a parameter's value, for people; empty where nothing is. */
export function parameterFault({ choices = [], pattern, url }: ProviderParameter, value: string): string {
  if (url) return isBaseUrl(value) ? '' : 'is no http or https URL of origin and path alone';
  if (!isUrlPart(value)) return 'holds what cannot stand inside a URL';
  if (choices.length > 0 && !choices.includes(value)) return `is none of ${choices.join(', ')}`;
  if (pattern || choices.length === 0) {
    if (!matchesWhole(pattern || DEFAULT_PATTERN, value)) return 'is not of the form that the provider has';
  }
  return '';
}

/** Refuses a secret that does not look like one of this kind, by the secrets’ names in the credential. Never says the secret. */
export function checkKey(key: KeyDefinition, secrets: Record<string, string>, field: string): void {
  for (const [name, pattern] of Object.entries(key.patterns ?? {})) {
    if (!Object.hasOwn(secrets, name)) continue;
    if (!matchesWhole(pattern, secrets[name]!)) throw fieldInvalid(`${field}.${name}`, `is no ${key.displayName}`);
  }
}

/** The URLs of a provider's OAuth that parameters alone fill in, by their field. */
export function endpointsOf(oauth: OAuthDefinition): Record<string, string> {
  const endpoints = {
    issuer: oauth.issuer,
    authorization_url: oauth.authorizationUrl,
    token_url: oauth.tokenUrl,
    device_authorization_url: oauth.deviceAuthorizationUrl,
    pushed_authorization_request_url: oauth.pushedAuthorizationRequestUrl,
    jwks_url: oauth.jwksUrl,
    'lifetimes.introspection_url': oauth.lifetimes?.introspectionUrl,
  };
  return Object.fromEntries(Object.entries(endpoints).filter((entry): entry is [string, string] => Boolean(entry[1])));
}

/** The definition with its endpoints ready to call. What depends on an account, as revocation and identity do, stays open. */
export function filledInOAuth(oauth: OAuthDefinition, values: Record<string, string>): OAuthDefinition {
  const fill = (url: string | undefined) => (url ? fillIn(url, values) : undefined);
  const filled = {
    issuer: fill(oauth.issuer),
    authorizationUrl: fill(oauth.authorizationUrl),
    deviceAuthorizationUrl: fill(oauth.deviceAuthorizationUrl),
    pushedAuthorizationRequestUrl: fill(oauth.pushedAuthorizationRequestUrl),
    jwksUrl: fill(oauth.jwksUrl),
  };
  const present = Object.entries(filled).filter(([, url]) => url !== undefined);
  return { ...oauth, ...Object.fromEntries(present), tokenUrl: fillIn(oauth.tokenUrl, values) };
}

function urlsOfKind({ apiBaseUrl = '', oauth, keys = [] }: ProviderDefinition, kind: string): string[] {
  const checks = keys.filter((key) => key.kind === kind).map(({ check }) => check?.url ?? '');
  if (!oauth || (kind !== 'oauth2' && kind !== 'client_credentials')) return [apiBaseUrl, ...checks];
  return [apiBaseUrl, ...Object.values(endpointsOf(oauth)), oauth.identity?.url ?? '', oauth.revocation?.url ?? ''];
}
