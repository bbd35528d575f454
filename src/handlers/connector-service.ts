import { fromJson, type MessageInitShape, toJsonString } from '@bufbuild/protobuf';
import { ValueSchema } from '@bufbuild/protobuf/wkt';
import {
  type ConnectorInputSchema,
  type ConnectorSchema,
  type ConnectorTypeSchema,
  ConnectorValueType,
  ExecutionModel,
} from '../../gen/latchkey/v1/connector_pb.ts';
import {
  ConnectorOrder,
  ConnectorService,
  ConnectorTypeOrder,
  CreateConnectorRequestSchema,
} from '../../gen/latchkey/v1/connector_service_pb.ts';
import { mostChars, mostItems } from '../domain/connectors/check-values.ts';
import type { ConnectorType, Input, ValueType } from '../domain/connectors/connector-type.ts';
import { createConnector } from '../domain/connectors/create-connector.ts';
import { deleteConnector } from '../domain/connectors/delete-connector.ts';
import { executeConnector } from '../domain/connectors/execute-connector.ts';
import { getConnector } from '../domain/connectors/get-connector.ts';
import { listConnectorTypes } from '../domain/connectors/list-connector-types.ts';
import { listConnectors, type ConnectorOrder as OrderName } from '../domain/connectors/list-connectors.ts';
import type { Executed } from '../domain/connectors/run-command.ts';
import { testConnector } from '../domain/connectors/test-connector.ts';
import { updateConnector } from '../domain/connectors/update-connector.ts';
import type { Connector } from '../model/connector.ts';
import type { JsonObject } from '../model/json.ts';
import { implement } from './implement.ts';
import { pageRequest, pageResponse } from './page.ts';
import { toDuration, toTimestamp } from './time.ts';

export const connectorService = implement(ConnectorService, {
  listConnectorTypes(call, request) {
    const order = request.order === ConnectorTypeOrder.NAME_DESC ? 'NAME_DESC' : 'NAME_ASC';
    const page = listConnectorTypes(call, order, pageRequest(request));
    return { types: page.items.map(typeToProto), ...pageResponse(page) };
  },

  async createConnector(call, request) {
    const { name, displayName, type, requestId } = request;
    const config = (request.config ?? {}) as JsonObject;
    const input = { name, displayName, type, config, projectId: request.projectId || null };
    const content = requestId ? toJsonString(CreateConnectorRequestSchema, request) : '';
    return { connector: connectorToProto(await createConnector(call, input, { requestId, content })) };
  },

  async getConnector(call, { connectorId }) {
    return { connector: connectorToProto(await getConnector(call, connectorId)) };
  },

  async listConnectors(call, request) {
    const projectId = request.projectId === '' ? null : request.projectId;
    const order = ORDERS.get(request.order) ?? 'CREATE_TIME_DESC';
    const page = await listConnectors(call, { projectId, type: request.type }, order, pageRequest(request));
    return { connectors: page.items.map(connectorToProto), ...pageResponse(page) };
  },

  async updateConnector(call, { connectorId, etag, name, displayName, config }) {
    const patch = { name, displayName, config: config as JsonObject | undefined };
    return { connector: connectorToProto(await updateConnector(call, connectorId, etag, patch)) };
  },

  async deleteConnector(call, { connectorId, etag }) {
    await deleteConnector(call, connectorId, etag);
    return {};
  },

  async testConnector(call, { connectorId, variables }) {
    const tested = await testConnector(call, connectorId, (variables ?? {}) as JsonObject);
    return { ...resultToProto(tested), latency: toDuration(tested.durationMs) };
  },

  async executeConnector(call, { config, inputs, variables, ...request }) {
    const { connectorId, command, stepId, instanceId } = request;
    const executed = await executeConnector(call, {
      ...{ connectorId, command, stepId, instanceId, projectId: request.projectId || null },
      config: (config ?? {}) as JsonObject,
      inputs: (inputs ?? {}) as JsonObject,
      variables: (variables ?? {}) as JsonObject,
    });
    const { durationMs } = executed;
    return { ...resultToProto(executed), command: executed.command, duration: toDuration(durationMs) };
  },
});

const ORDERS = new Map<ConnectorOrder, OrderName>([
  [ConnectorOrder.CREATE_TIME_ASC, 'CREATE_TIME_ASC'],
  [ConnectorOrder.NAME_ASC, 'NAME_ASC'],
]);

const TYPES: Record<ValueType, ConnectorValueType> = {
  string: ConnectorValueType.STRING,
  number: ConnectorValueType.NUMBER,
  integer: ConnectorValueType.INTEGER,
  boolean: ConnectorValueType.BOOLEAN,
  object: ConnectorValueType.OBJECT,
  list: ConnectorValueType.LIST,
};

function connectorToProto(connector: Connector): MessageInitShape<typeof ConnectorSchema> {
  const { id, name, displayName, type, config } = connector;
  return {
    ...{ id, name, displayName, type, config, executionModel: ExecutionModel.BUILT_IN },
    projectId: connector.projectId ?? '',
    createTime: toTimestamp(connector.createTime),
    updateTime: toTimestamp(connector.updateTime),
    etag: connector.etag(),
  };
}

function typeToProto(type: ConnectorType): MessageInitShape<typeof ConnectorTypeSchema> {
  const { name, version, displayName, description, defaultCommand } = type;
  return {
    ...{ name, version, displayName, description, defaultCommand, executionModel: ExecutionModel.BUILT_IN },
    settings: type.settings.map(inputToProto),
    commands: type.commands.map((command) => ({
      ...{ name: command.name, description: command.description, inputs: command.inputs.map(inputToProto) },
    })),
  };
}

function inputToProto(input: Input): MessageInitShape<typeof ConnectorInputSchema> {
  const { name, description, minimum, maximum, default: value } = input;
  const isText = input.types.includes('string');
  const isMany = input.types.includes('list') || input.types.includes('object');
  return {
    ...{ name, description, minimum, maximum, types: input.types.map((type) => TYPES[type]) },
    required: input.required ?? false,
    defaultValue: value === undefined ? undefined : fromJson(ValueSchema, value),
    choices: [...(input.choices ?? [])],
    maxLength: isText ? mostChars(input) : 0,
    maxItems: isMany ? mostItems(input) : 0,
    sensitive: input.sensitive ?? false,
  };
}

function resultToProto({ success, data, error }: Executed) {
  return { success, data, error };
}
