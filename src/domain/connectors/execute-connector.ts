import { fieldInvalid } from '../../base/error.ts';
import type { Connector } from '../../model/connector.ts';
import type { JsonObject, JsonValue } from '../../model/json.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { at, checkedValues } from './check-values.ts';
import { commandOf, connectorType } from './connector-types.ts';
import { type Executed, runCommand } from './run-command.ts';
import { findConnector, findNamedConnector } from './visibility.ts';

const LONGEST_NAME = 255;

export type Execution = {
  /** Empty: `connectorName` of the config names it. */
  connectorId: string;
  /** Of the connector that is named; null: of the whole tenant. */
  projectId: string | null;
  /** Empty: `command` of the config, else the default of the type. */
  command: string;
  config: JsonObject;
  inputs: JsonObject;
  variables: JsonObject;
  stepId: string;
  instanceId: string;
};

/**
 * Executes a command of a connector. How it went is the result.
 * Fails with CONNECTOR_NOT_FOUND, CONNECTOR_TYPE_NOT_FOUND, FIELD_INVALID, and as the type does.
 */
export async function executeConnector(call: Call, execution: Execution): Promise<Executed> {
  const { inputs, variables, stepId, instanceId } = execution;
  const { connectorName, command: configured, ...config } = execution.config;
  const connector = await connectorOf(call, execution, textOf('connectorName', connectorName));
  const type = connectorType(connector.type);
  const named = textOf('command', configured);
  const command = commandOf(type, execution.command || named || type.defaultCommand);
  const values = checkedValues(type, command, { inputs, config, stored: connector.config, variables });
  return runCommand('connector_executed', type, {
    ...{ call, connector, command: command.name, values, variables, stepId, instanceId },
  });
}

async function connectorOf(
  call: Call,
  { connectorId, projectId }: Execution,
  connectorName: string,
): Promise<Connector> {
  if (!connectorId && !connectorName) throw fieldInvalid('connector_id', 'is required, or connectorName in config');
  const connector = await read(call, (em) =>
    connectorId ? findConnector(em, call, connectorId) : findNamedConnector(em, call, projectId, connectorName),
  );
  if (connectorName && connectorName !== connector.name && connectorName !== connector.type)
    throw fieldInvalid(at('config', 'connectorName'), 'is neither the name of the connector nor that of its type');
  return connector;
}

function textOf(name: string, value: JsonValue | undefined): string {
  if (value === undefined || value === null) return '';
  if (typeof value !== 'string' || value.length > LONGEST_NAME)
    throw fieldInvalid(at('config', name), `must be a text of at most ${LONGEST_NAME} characters`);
  return value;
}
