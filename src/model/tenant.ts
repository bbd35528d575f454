import { defineEntity, p } from '@mikro-orm/core';

/** A tenant: nothing of one is seen by another. */
const schema = defineEntity({
  name: 'Tenant',
  tableName: 'tenant',
  properties: {
    tenantId: p.text().primary(),
    displayName: p.text(),
    createTime: p.datetime(),
  },
});

export class Tenant extends schema.class {
  summary() {
    return { display_name: this.displayName };
  }
}
schema.setClass(Tenant);
