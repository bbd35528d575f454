import { defineEntity, p } from '@mikro-orm/core';

/** A tenant's set-up of a provider. */
const schema = defineEntity({
  name: 'Integration',
  tableName: 'integration',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    provider: p.text(),
    displayName: p.text(),
    enabled: p.boolean(),
    settings: p.json<Record<string, string>>(),
    scopes: p.json<string[]>(),
    requiredScopes: p.json<string[]>(),
    returnUrls: p.json<string[]>(),
    redirectPath: p.text(),
    resource: p.text(),
    appGroup: p.text(),
    appGroupId: p.text(),
    apps: p.json<string[]>(),
    syncAction: p.text(),
    autoCreateUsers: p.boolean(),
    clientId: p.text(),
    lastError: p.text(),
    lastErrorTime: p.datetime().strictNullable(),
    version: p.integer(),
    createTime: p.datetime(),
    updateTime: p.datetime(),
  },
});

export class Integration extends schema.class {
  etag(): string {
    return `v${this.version}`;
  }

  /** Notes a change: a new etag and update time. */
  changed(now: Date): void {
    this.version += 1;
    this.updateTime = now;
  }

  /** What the audit log and events say of it: no secrets. */
  summary() {
    return {
      provider: this.provider,
      display_name: this.displayName,
      enabled: this.enabled,
      settings: this.settings,
      scopes: this.scopes,
      required_scopes: this.requiredScopes,
      return_urls: this.returnUrls,
      redirect_path: this.redirectPath,
      resource: this.resource,
      app_group: this.appGroup,
      app_group_id: this.appGroupId,
      apps: this.apps,
      sync_action: this.syncAction,
      auto_create_users: this.autoCreateUsers,
      client_id: this.clientId,
      version: this.version,
    };
  }
}
schema.setClass(Integration);
