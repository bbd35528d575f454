import { defineEntity, p } from '@mikro-orm/core';
import type { StoredRate } from './tenant.ts';

/** A key by which a service calls. Its text is not stored, a SHA-256 hash of it is: the text is random enough to need nothing slower. */
const schema = defineEntity({
  name: 'ApiKey',
  tableName: 'api_key',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    displayName: p.text(),
    hash: p.blob(),
    scopes: p.array(),
    projectIds: p.array(),
    operator: p.boolean(),
    /** The user who made it; empty: no user did. */
    creatorUserId: p.text(),
    createTime: p.datetime(),
    expireTime: p.datetime().strictNullable(),
    revokeTime: p.datetime().strictNullable(),
    /** Null: as for each caller of its tenant. */
    rateLimit: p.json<StoredRate>().strictNullable(),
  },
});

export class ApiKey extends schema.class {
  /** Ends the key. False where it had ended before. */
  revoke(now: Date): boolean {
    if (this.revokeTime) return false;
    this.revokeTime = now;
    return true;
  }

  summary() {
    return {
      display_name: this.displayName,
      scopes: this.scopes,
      project_ids: this.projectIds,
      operator: this.operator,
      rate_limit: this.rateLimit,
      expire_time: this.expireTime?.toISOString() ?? null,
      revoke_time: this.revokeTime?.toISOString() ?? null,
    };
  }
}
schema.setClass(ApiKey);
