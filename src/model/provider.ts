import { defineEntity, p } from '@mikro-orm/core';
import type { ProviderDefinition } from '../providers/types.ts';

/** A provider of a tenant's own. */
const schema = defineEntity({
  name: 'CustomProvider',
  tableName: 'provider',
  properties: {
    tenantId: p.text().primary(),
    name: p.text().primary(),
    definition: p.json<ProviderDefinition>(),
    version: p.integer(),
    createTime: p.datetime(),
    updateTime: p.datetime(),
  },
});

export class CustomProvider extends schema.class {
  etag(): string {
    return `v${this.version}`;
  }

  replace(definition: ProviderDefinition, now: Date): void {
    this.definition = definition;
    this.version += 1;
    this.updateTime = now;
  }
}
schema.setClass(CustomProvider);
