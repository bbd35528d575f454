import { defineEntity, p } from '@mikro-orm/core';
import type { Place } from '../crypto/keyring.ts';

/** An account that Latchkey makes and keeps at a provider. */
const schema = defineEntity({
  name: 'ProviderAccount',
  tableName: 'provider_account',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    provider: p.text(),
    baseUrl: p.text(),
    ownerUserId: p.text().strictNullable(),
    integrationId: p.text().strictNullable(),
    connectionId: p.text().strictNullable(),
    status: p.text().$type<'PROVISIONING' | 'ACTIVE' | 'DELETING'>(),
    username: p.text(),
    /** Its id at the provider; empty: not known yet. */
    remoteId: p.text(),
    sealed: p.blob(),
    generation: p.integer(),
    leaseUntil: p.datetime().strictNullable(),
    leaseEpoch: p.integer(),
    /** When its key was last seen to work. */
    verifyTime: p.datetime().strictNullable(),
    /** Whether it is kept in the user-service, too, and that knows of it as it is. */
    userService: p.text().$type<'NONE' | 'STALE' | 'TOLD'>(),
    createTime: p.datetime(),
    updateTime: p.datetime(),
  },
});

export class ProviderAccount extends schema.class {
  /** What events are about. */
  aggregate() {
    const { id, generation, ownerUserId } = this;
    return { type: 'account', id, generation, ownerUserId, projectId: null };
  }

  /** What the audit log and events say of it: no secrets. */
  summary() {
    return {
      provider: this.provider,
      base_url: this.baseUrl,
      owner_user_id: this.ownerUserId,
      connection_id: this.connectionId,
      status: this.status,
      username: this.username,
      provider_account_id: this.remoteId,
    };
  }
}
schema.setClass(ProviderAccount);

/** Where password, key and tokens are sealed for. */
export function providerAccountPlace(tenantId: string, id: string, generation: number): Place {
  return { tenantId, table: 'provider_account', column: 'sealed', rowId: id, generation };
}
