import { defineEntity, p } from '@mikro-orm/core';
import type { JsonObject } from './json.ts';

/** What a connector that simulates a system has in it. */
const schema = defineEntity({
  name: 'ConnectorState',
  tableName: 'connector_state',
  properties: {
    tenantId: p.text().primary(),
    connectorId: p.text().primary(),
    state: p.json<JsonObject>(),
    updateTime: p.datetime(),
  },
});

export class ConnectorState extends schema.class {}
schema.setClass(ConnectorState);
