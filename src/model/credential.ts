import { defineEntity, p } from '@mikro-orm/core';
import type { Place } from '../crypto/keyring.ts';
import type { JsonObject } from './json.ts';

/** What a connection authenticates with: open fields, and the secret ones sealed together as a JSON object. */
const schema = defineEntity({
  name: 'Credential',
  tableName: 'credential',
  properties: {
    tenantId: p.text().primary(),
    connectionId: p.text().primary(),
    fields: p.json<JsonObject>(),
    sealed: p.blob(),
    generation: p.integer(),
    expireTime: p.datetime().strictNullable(),
    refreshExpireTime: p.datetime().strictNullable(),
    /** Of an access token, when it was new. */
    lifetimeS: p.integer().strictNullable(),
    /** The first generation of this grant: what a refresh of an older one yields is late. */
    grantedGeneration: p.integer(),
    leaseEpoch: p.integer(),
    leaseUntil: p.datetime().strictNullable(),
    attemptId: p.text(),
    refreshNotBefore: p.datetime().strictNullable(),
    refreshDue: p.datetime().strictNullable(),
    keepaliveDue: p.datetime().strictNullable(),
    failureClass: p.text(),
    failureCode: p.text(),
    failureCount: p.integer(),
    failingSince: p.datetime().strictNullable(),
    /** That a person must act soon has been said. */
    expiryWarned: p.boolean(),
    /** The generation of which it was said that it expired; 0: of none. */
    expiredGeneration: p.integer(),
  },
});

export class Credential extends schema.class {}
schema.setClass(Credential);

/** Where a credential's secret fields are sealed for. */
export function credentialPlace(tenantId: string, connectionId: string, generation: number): Place {
  return { tenantId, table: 'credential', column: 'sealed', rowId: connectionId, generation };
}
