import { LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import type { Em } from '../../db/transaction.ts';
import { Connector } from '../../model/connector.ts';
import { ConnectorState } from '../../model/connector-state.ts';
import type { JsonObject } from '../../model/json.ts';
import { refuseForeignProject } from '../access/projects.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { once } from '../once.ts';
import { checkConfig } from './check-values.ts';
import { flushNamed, refuseUnknownConnections } from './connector-input.ts';
import { connectorType } from './connector-types.ts';
import { findConnector } from './visibility.ts';

const MOST_OF_TENANT = 500;

export type NewConnector = {
  name: string;
  displayName: string;
  projectId: string | null;
  type: string;
  config: JsonObject;
};

/**
 * Makes an instance of a type. Fails with FIELD_INVALID, CONNECTOR_TYPE_NOT_FOUND, CONNECTOR_NAME_TAKEN, CONNECTOR_LIMIT_REACHED, CONNECTION_NOT_FOUND,
 * REQUEST_ID_REUSED.
 */
export async function createConnector(
  call: Call,
  input: NewConnector,
  request: { requestId: string; content: string },
): Promise<Connector> {
  const { app, principal } = call;
  const { tenantId } = principal;
  refuseForeignProject(principal, input.projectId);
  const type = connectorType(input.type);
  checkConfig(type, input.config);
  const now = new Date(app.clock.now());
  const id = newId('cntr', now.getTime());
  const state = await type.initialState?.(now);
  return change(call, (em) =>
    once(em, call, { method: 'CreateConnector', ...request }, id, {
      async make() {
        await refuseUnknownConnections(em, call, type, input.config);
        await refuseTooMany(em, tenantId);
        const displayName = input.displayName || input.name;
        const times = { createTime: now, updateTime: now };
        const connector = em.create(Connector, { ...input, displayName, tenantId, id, version: 1, ...times });
        await flushNamed(em, input.name);
        if (state) em.create(ConnectorState, { tenantId, connectorId: id, state, updateTime: now });
        audit(em, call, 'connector_created', { type: 'connector', id }, { after: connector.summary() });
        event(em, call, 'connector.created', connector.aggregate(), connector.summary());
        return connector;
      },
      repeat: (made) => findConnector(em, call, made),
    }),
  );
}

/** Who makes one waits for who makes another. Fails with CONNECTOR_LIMIT_REACHED. */
async function refuseTooMany(em: Em, tenantId: string): Promise<void> {
  await em.execute('select pg_advisory_xact_lock(hashtextextended(?, 0))', [`connectors of ${tenantId}`]);
  if ((await em.count(Connector, { tenantId })) < MOST_OF_TENANT) return;
  throw new LatchkeyError('CONNECTOR_LIMIT_REACHED', { metadata: { limit: String(MOST_OF_TENANT) } });
}
