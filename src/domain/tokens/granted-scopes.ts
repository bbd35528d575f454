import type { JsonObject } from '../../model/json.ts';
import type { ScopeDefinition } from '../../oauth/definition.ts';
import type { TokenSet } from '../../oauth/token-set.ts';
import type { OAuthSetup } from '../call.ts';

/** What was granted: what the provider says, and what it never names though it grants it. */
export function grantedScopes(
  definition: ScopeDefinition,
  requested: readonly string[],
  granted: readonly string[] | null,
): string[] {
  const unnamed = requested.filter((scope) => definition.neverGranted?.includes(scope));
  return [...new Set([...(granted ?? requested), ...unnamed])];
}

/** What was wanted and not granted. */
export function missingScopes(wanted: readonly string[], granted: readonly string[]): string[] {
  return [...new Set(wanted)].filter((scope) => !granted.includes(scope));
}

/**
 * Scopes after a refresh: as before where the answer does not say (RFC 6749, section 6). What is missing is told by what was requested; of a credential
 * that was imported by what it came with.
 */
export function refreshedScopes(
  fields: JsonObject,
  { integration, client }: OAuthSetup,
  { scopes }: TokenSet,
): { requested: string[]; granted: string[]; missing: string[] } {
  const before = (fields.scopes as string[] | undefined) ?? [];
  const requested = (fields.requested_scopes as string[] | undefined) ?? before;
  const granted = grantedScopes(client.definition.scopes ?? {}, before, scopes);
  return { requested, granted, missing: missingScopes([...requested, ...integration.requiredScopes], granted) };
}
