import type { JsonObject } from '../../model/json.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { checkedValues } from './check-values.ts';
import { commandOf, connectorType } from './connector-types.ts';
import { type Executed, runCommand } from './run-command.ts';
import { findConnector } from './visibility.ts';

/** Executes the command `test` of a connector. Fails with CONNECTOR_NOT_FOUND, CONNECTOR_TYPE_NOT_FOUND, FIELD_INVALID, and as the type does. */
export async function testConnector(call: Call, id: string, variables: JsonObject): Promise<Executed> {
  const connector = await read(call, (em) => findConnector(em, call, id));
  const type = connectorType(connector.type);
  const command = commandOf(type, 'test');
  const values = checkedValues(type, command, { inputs: {}, config: {}, stored: connector.config, variables });
  return runCommand('connector_tested', type, {
    ...{ call, connector, command: command.name, values, variables, stepId: '', instanceId: '' },
  });
}
