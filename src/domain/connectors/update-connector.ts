import type { Connector } from '../../model/connector.ts';
import type { JsonObject } from '../../model/json.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { checkConfig } from './check-values.ts';
import { flushNamed, refuseUnknownConnections } from './connector-input.ts';
import { connectorType } from './connector-types.ts';
import { lockConnector } from './visibility.ts';

/** Undefined: unchanged. */
export type ConnectorPatch = {
  name: string | undefined;
  displayName: string | undefined;
  config: JsonObject | undefined;
};

/** Changes what the patch sets. Fails with CONNECTOR_NOT_FOUND, CONNECTOR_NAME_TAKEN, FIELD_INVALID, CONNECTION_NOT_FOUND, ETAG_MISMATCH. */
export function updateConnector(call: Call, id: string, etag: string, patch: ConnectorPatch): Promise<Connector> {
  return change(call, async (em) => {
    const connector = await lockConnector(em, call, id, etag);
    const before = connector.summary();
    if (patch.config) {
      const type = connectorType(connector.type);
      checkConfig(type, patch.config);
      await refuseUnknownConnections(em, call, type, patch.config);
    }
    const { name = connector.name, displayName = connector.displayName, config = connector.config } = patch;
    Object.assign(connector, { name, displayName: displayName || name, config });
    connector.changed(new Date(call.app.clock.now()));
    await flushNamed(em, name);
    const after = { ...connector.summary(), config_replaced: patch.config !== undefined };
    audit(em, call, 'connector_updated', { type: 'connector', id }, { before, after });
    event(em, call, 'connector.updated', connector.aggregate(), after);
    return connector;
  });
}
