import { fieldInvalid } from '../../base/error.ts';
import { checkDefinition } from '../../providers/check-definition.ts';
import type { ProviderDefinition } from '../../providers/types.ts';
import type { App } from '../call.ts';

/** The rules for a provider of a tenant's own. Fails with FIELD_INVALID, ADDRESS_FORBIDDEN. */
export function checkProvider({ config, egress }: App, definition: ProviderDefinition): void {
  checkDefinition(definition, 'definition');
  for (const [field, url] of urlsOf(definition)) {
    if (config.production && !/^(https:|\{)/.test(url)) throw fieldInvalid(field, 'must be an https URL');
    // A host that depends on a parameter is looked at when it is called, as every address is.
    if (!url.includes('{')) egress.refuseForbidden(new URL(url));
  }
}

/** The URLs of a definition, by field of the contract. */
export function urlsOf({ apiBaseUrl, oauth, keys = [] }: ProviderDefinition): [field: string, url: string][] {
  const urls: [string, string | undefined][] = [
    ['definition.api_base_url', apiBaseUrl],
    ['definition.oauth.issuer', oauth?.issuer],
    ['definition.oauth.authorization_url', oauth?.authorizationUrl],
    ['definition.oauth.token_url', oauth?.tokenUrl],
    ['definition.oauth.device_authorization_url', oauth?.deviceAuthorizationUrl],
    ['definition.oauth.pushed_authorization_request_url', oauth?.pushedAuthorizationRequestUrl],
    ['definition.oauth.jwks_url', oauth?.jwksUrl],
    ['definition.oauth.lifetimes.introspection_url', oauth?.lifetimes?.introspectionUrl],
    ['definition.oauth.revocation.url', oauth?.revocation?.url],
    ['definition.oauth.identity.url', oauth?.identity?.url],
    ...keys.map((key, i): [string, string | undefined] => [`definition.keys[${i}].check.url`, key.check?.url]),
  ];
  return urls.filter((pair): pair is [string, string] => Boolean(pair[1]));
}
