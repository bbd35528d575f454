import { defineEntity, p } from '@mikro-orm/core';
import type { Place } from '../crypto/keyring.ts';

/** One of the client secrets of an integration. They are tried in the order of their positions. */
const schema = defineEntity({
  name: 'IntegrationSecret',
  tableName: 'integration_secret',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    integrationId: p.text(),
    position: p.integer(),
    value: p.blob(),
    createTime: p.datetime(),
  },
});

export class IntegrationSecret extends schema.class {}
schema.setClass(IntegrationSecret);

/** Where a client secret is sealed for. */
export function integrationSecretPlace(tenantId: string, id: string): Place {
  return { tenantId, table: 'integration_secret', column: 'value', rowId: id, generation: 0 };
}
