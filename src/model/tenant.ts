import { defineEntity, p } from '@mikro-orm/core';

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
    limits: p.json<StoredLimits>(),
  },
});

export class Tenant extends schema.class {
  summary() {
    return { display_name: this.displayName, limits: this.limits };
  }
}
schema.setClass(Tenant);
