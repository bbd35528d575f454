import { defineEntity, p } from '@mikro-orm/core';

/**
 * - `DELETING`: nobody may call any more, and what it has at providers is being given up.
 * - `ERASING`: its data keys are destroyed, its rows are being removed.
 */
export type TenantState = 'ACTIVE' | 'DELETING' | 'ERASING';

/** So many calls a second; `per_second` 0: any number, `burst` 0: as many as `per_second`. */
export type StoredRate = { per_second: number; burst: number };
/** Limits of a tenant; what is absent is as the settings say. `max_connections` 0: any number. */
export type StoredLimits = { calls?: StoredRate; calls_of_each?: StoredRate; max_connections?: number };

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
    limits: p.json<StoredLimits>(),
  },
});

export class Tenant extends schema.class {
  summary() {
    return { display_name: this.displayName, state: this.state, limits: this.limits };
  }
}
schema.setClass(Tenant);
