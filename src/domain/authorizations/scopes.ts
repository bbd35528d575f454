import type { Integration } from '../../model/integration.ts';
import type { ScopeDefinition } from '../../oauth/definition.ts';

type Wanted = Pick<Integration, 'scopes' | 'requiredScopes'>;

/** What is requested: the integration's scopes or the provider's defaults, those that it requires, those that the caller adds, and those that the provider always needs. */
export function scopesToRequest(definition: ScopeDefinition, wanted: Wanted, added: readonly string[]): string[] {
  const base = wanted.scopes.length > 0 ? wanted.scopes : (definition.defaultScopes ?? []);
  return [...new Set([...base, ...wanted.requiredScopes, ...added, ...(definition.always ?? [])])];
}

/** What was wanted and not granted. A provider that does not say what it granted has granted what was requested (RFC 6749, section 5.1). */
export function missingScopes(
  definition: ScopeDefinition,
  wanted: { requested: readonly string[]; required: readonly string[] },
  granted: readonly string[] | null,
): string[] {
  if (granted === null) return [];
  const expected = wanted.requested.filter((scope) => !definition.neverGranted?.includes(scope));
  return [...new Set([...expected, ...wanted.required])].filter((scope) => !granted.includes(scope));
}
