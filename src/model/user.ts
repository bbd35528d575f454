import { defineEntity, p } from '@mikro-orm/core';

/** A user of a tenant, known since the first call with a token of the identity provider. */
const schema = defineEntity({
  name: 'User',
  tableName: 'app_user',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    issuer: p.text(),
    subject: p.text(),
    email: p.text(),
    displayName: p.text(),
    assignedRoles: p.array(),
    mappedRoles: p.array(),
    createTime: p.datetime(),
    lastSeenAt: p.datetime(),
  },
});

export class User extends schema.class {
  /** Roles that hold: mapped from groups and assigned. */
  roles(): string[] {
    return [...new Set([...this.mappedRoles, ...this.assignedRoles])];
  }

  summary() {
    return { subject: this.subject, assigned_roles: this.assignedRoles, mapped_roles: this.mappedRoles };
  }
}
schema.setClass(User);
