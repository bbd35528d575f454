import type { Integration } from '../../model/integration.ts';
import type { ScopeDefinition } from '../../oauth/definition.ts';

type Wanted = Pick<Integration, 'scopes' | 'requiredScopes'>;

/** What is requested: the integration's scopes or the provider's defaults, those that it requires, those that the caller adds, and those that the provider always needs. */
export function scopesToRequest(definition: ScopeDefinition, wanted: Wanted, added: readonly string[]): string[] {
  const base = wanted.scopes.length > 0 ? wanted.scopes : (definition.defaultScopes ?? []);
  return [...new Set([...base, ...wanted.requiredScopes, ...added, ...(definition.always ?? [])])];
}

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
export function missingScopes(
  { requested, required }: { requested: readonly string[]; required: readonly string[] },
  granted: readonly string[],
): string[] {
  return [...new Set([...requested, ...required])].filter((scope) => !granted.includes(scope));
}
