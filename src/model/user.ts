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
    version: p.integer(),
    /** Set: deleted, and kept only until nothing refers to it any more. */
    deleteTime: p.datetime().strictNullable(),
  },
});

export class User extends schema.class {
  etag(): string {
    return `v${this.version}`;
  }

  isAdministrator(): boolean {
    return this.roles().includes('admin');
  }

  /** From now on it is nobody's: another user may come under the subject. */
  delete(now: Date): void {
    Object.assign(this, { issuer: `latchkey:deleted:${this.id}`, email: '', displayName: '', deleteTime: now });
    Object.assign(this, { assignedRoles: [], mappedRoles: [] });
  }

  /** What events are about. */
  aggregate() {
    return { type: 'user', id: this.id, generation: this.version };
  }

  /** Roles that hold: mapped from groups and assigned. */
  roles(): string[] {
    return [...new Set([...this.mappedRoles, ...this.assignedRoles])];
  }

  summary() {
    return { subject: this.subject, assigned_roles: this.assignedRoles, mapped_roles: this.mappedRoles };
  }
}
schema.setClass(User);
