import { defineEntity, p } from '@mikro-orm/core';

/**
 * - `DELETING`: nobody may call any more, and what it has at providers is being given up.
 * - `ERASING`: its data keys are destroyed, its rows are being removed.
 */
export type TenantState = 'ACTIVE' | 'DELETING' | 'ERASING';

/** A tenant: nothing of one is seen by another. */
const schema = defineEntity({
  name: 'Tenant',
  tableName: 'tenant',
  properties: {
    tenantId: p.text().primary(),
    displayName: p.text(),
    createTime: p.datetime(),
    state: p.text().$type<TenantState>(),
    deleteTime: p.datetime().strictNullable(),
    /** When its data keys are destroyed at the latest, or were. */
    eraseTime: p.datetime().strictNullable(),
  },
});

export class Tenant extends schema.class {
  summary() {
    return { display_name: this.displayName, state: this.state };
  }
}
schema.setClass(Tenant);
