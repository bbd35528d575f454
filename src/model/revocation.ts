import { defineEntity, p } from '@mikro-orm/core';
import type { Place } from '../crypto/keyring.ts';
import type { RevocationDefinition } from '../oauth/definition.ts';

/** Tokens that are to be revoked at their provider. PENDING until the provider said so, or for a day. */
const schema = defineEntity({
  name: 'Revocation',
  tableName: 'revocation',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    connectionId: p.text(),
    provider: p.text(),
    request: p.json<RevocationDefinition>(),
    sealed: p.blob().strictNullable(),
    status: p.text().$type<'PENDING' | 'REVOKED' | 'GIVEN_UP'>(),
    attempts: p.integer(),
    lastError: p.text(),
    createTime: p.datetime(),
    settleTime: p.datetime().strictNullable(),
  },
});

export class Revocation extends schema.class {}
schema.setClass(Revocation);

/** Where the tokens and the client's secrets are sealed for. */
export function revocationPlace(tenantId: string, id: string): Place {
  return { tenantId, table: 'revocation', column: 'sealed', rowId: id, generation: 0 };
}
