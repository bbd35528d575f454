import type { JsonObject } from '../../model/json.ts';
import type { TokenSet } from '../../oauth/token-set.ts';
import type { OAuthSetup } from '../call.ts';

/** Scopes after a refresh: as before where the answer does not say (RFC 6749, section 6). */
export function refreshedScopes(
  fields: JsonObject,
  { integration, client }: OAuthSetup,
  { scopes }: TokenSet,
): { granted: string[]; missing: string[] } {
  const before = (fields.scopes as string[] | undefined) ?? [];
  const unnamed = before.filter((scope) => client.definition.scopes?.neverGranted?.includes(scope));
  const granted = [...new Set([...(scopes ?? before), ...unnamed])];
  const wanted = [...new Set([...before, ...integration.requiredScopes])];
  return { granted, missing: wanted.filter((scope) => !granted.includes(scope)) };
}
