import { defineEntity, p } from '@mikro-orm/core';
import type { JsonObject } from './json.ts';

/** An instance of a type of connector. */
const schema = defineEntity({
  name: 'Connector',
  tableName: 'connector',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    /** Null: of the whole tenant. */
    projectId: p.text().strictNullable(),
    name: p.text(),
    displayName: p.text(),
    /** Name of the type. */
    type: p.text(),
    config: p.json<JsonObject>(),
    version: p.integer(),
    createTime: p.datetime(),
    updateTime: p.datetime(),
  },
});

export class Connector extends schema.class {
  etag(): string {
    return `v${this.version}`;
  }

  /** Notes a change: a new etag and update time. */
  changed(now: Date): void {
    this.version += 1;
    this.updateTime = now;
  }

  /** What events are about. */
  aggregate() {
    const { id, version: generation, projectId } = this;
    return { type: 'connector', id, generation, projectId, ownerUserId: null };
  }

  /** What the audit log and events say of it: of its config, which says what to send, the names alone. */
  summary() {
    return {
      name: this.name,
      display_name: this.displayName,
      project_id: this.projectId,
      type: this.type,
      config_names: Object.keys(this.config),
      version: this.version,
    };
  }
}
schema.setClass(Connector);
