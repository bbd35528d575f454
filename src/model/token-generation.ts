import type { Place } from '../crypto/keyring.ts';

/** Where the tokens that one attempt yielded are sealed for. */
export function tokenGenerationPlace(tenantId: string, attemptId: string): Place {
  return { tenantId, table: 'token_generation', column: 'sealed', rowId: attemptId, generation: 0 };
}
