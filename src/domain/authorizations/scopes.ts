import type { Integration } from '../../model/integration.ts';
import type { ScopeDefinition } from '../../oauth/definition.ts';

type Wanted = Pick<Integration, 'scopes' | 'requiredScopes'>;

/** What is requested: the integration's scopes or the provider's defaults, those that it requires, those that the caller adds, and those that the provider always needs. */
export function scopesToRequest(definition: ScopeDefinition, wanted: Wanted, added: readonly string[]): string[] {
  const base = wanted.scopes.length > 0 ? wanted.scopes : (definition.defaultScopes ?? []);
  return [...new Set([...base, ...wanted.requiredScopes, ...added, ...(definition.always ?? [])])];
}
