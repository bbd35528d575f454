import { create, type JsonObject, toJsonString } from '@bufbuild/protobuf';
import {
  ConnectionOrder,
  ConnectionService,
  CreateConnectionRequestSchema,
  type GetCredentialsResponse,
  GetCredentialsResponseSchema,
} from '../../gen/latchkey/v1/connection_service_pb.ts';
import { SecretText } from '../base/secret-text.ts';
import type { ReadyCredential } from '../domain/call.ts';
import { createConnection } from '../domain/connections/create-connection.ts';
import { deleteConnection } from '../domain/connections/delete-connection.ts';
import { getConnection } from '../domain/connections/get-connection.ts';
import { getConnectionStatus } from '../domain/connections/get-connection-status.ts';
import { getCredentials } from '../domain/connections/get-credentials.ts';
import { httpParameters } from '../domain/connections/http-parameters.ts';
import { listConnections, type ConnectionOrder as OrderName } from '../domain/connections/list-connections.ts';
import { setConnectionEnabled } from '../domain/connections/set-connection-enabled.ts';
import { updateConnection } from '../domain/connections/update-connection.ts';
import type { JsonObject as StoredJson } from '../model/json.ts';
import { connectionToProto, statusName, statusNumber } from './connection.ts';
import { credentialInput, credentialToProto, kindName } from './credential.ts';
import { implement } from './implement.ts';
import { pageRequest, pageResponse } from './page.ts';
import { toTimestamp } from './time.ts';

export const connectionService = implement(ConnectionService, {
  async createConnection(call, request) {
    const { name, displayName, provider, baseUrl, isDefault, providerAccountId, providerAccountEmail } = request;
    const input = {
      ...{ name, displayName, provider, baseUrl, isDefault, providerAccountId, providerAccountEmail },
      projectId: request.projectId || null,
      ownerUserId: request.ownerUserId || null,
      credential: credentialInput(request.credential!),
      defaultHeaders: request.defaultHeaders?.entries ?? {},
      timeoutMs: request.timeoutMs ?? 8_000,
      retries: request.retries ?? 2,
      backoffMs: request.backoffMs ?? 250,
      labels: request.labels?.entries ?? {},
      metadata: json(request.metadata) ?? {},
      config: json(request.config) ?? {},
      providerAccountMetadata: json(request.providerAccountMetadata) ?? {},
      webhookSignatureSecret: optionalSecret(request.webhookSignatureSecret),
      enabled: !request.disabled,
    };
    const content = request.requestId ? toJsonString(CreateConnectionRequestSchema, request) : '';
    const view = await createConnection(call, input, { requestId: request.requestId, content });
    return { connection: connectionToProto(view) };
  },

  async getConnection(call, { connectionId }) {
    return { connection: connectionToProto(await getConnection(call, connectionId)) };
  },

  async listConnections(call, request) {
    const filter = {
      projectId: emptyAsNull(request.projectId),
      ownerUserId: emptyAsNull(request.ownerUserId),
      provider: request.provider || undefined,
      kind: kindName(request.kind),
      status: statusName(request.status),
      enabled: request.enabled,
      labels: request.labels,
      text: request.text,
    };
    const page = await listConnections(call, filter, orderName(request.order), pageRequest(request));
    return { connections: page.items.map(connectionToProto), ...pageResponse(page) };
  },

  async updateConnection(call, request) {
    const { connectionId, etag, name, displayName, provider, baseUrl, timeoutMs, retries, backoffMs, isDefault } =
      request;
    const patch = {
      ...{ name, displayName, provider, baseUrl, timeoutMs, retries, backoffMs, isDefault },
      credential: request.credential && credentialInput(request.credential),
      defaultHeaders: request.defaultHeaders?.entries,
      labels: request.labels?.entries,
      metadata: json(request.metadata),
      config: json(request.config),
      providerAccountId: request.providerAccountId,
      providerAccountEmail: request.providerAccountEmail,
      providerAccountMetadata: json(request.providerAccountMetadata),
      webhookSignatureSecret:
        request.webhookSignatureSecret === undefined ? undefined : optionalSecret(request.webhookSignatureSecret),
    };
    return { connection: connectionToProto(await updateConnection(call, connectionId, etag, patch)) };
  },

  async deleteConnection(call, { connectionId, etag }) {
    await deleteConnection(call, connectionId, etag);
    return {};
  },

  async enableConnection(call, { connectionId }) {
    return { connection: connectionToProto(await setConnectionEnabled(call, connectionId, true)) };
  },

  async disableConnection(call, { connectionId }) {
    return { connection: connectionToProto(await setConnectionEnabled(call, connectionId, false)) };
  },

  async getConnectionStatus(call, { connectionId }) {
    const { connection, status, reason, advice, expireTime, missingSecrets } = await getConnectionStatus(
      call,
      connectionId,
    );
    return {
      ...{ status: statusNumber(status), reason, advice, missingSecrets },
      expireTime: toTimestamp(expireTime),
      lastTestedAt: toTimestamp(connection.lastTestedAt),
      lastUsedAt: toTimestamp(connection.lastUsedAt),
    };
  },

  getCredentials(call, { connectionId }) {
    const ready = getCredentials(call, connectionId);
    return ready instanceof Promise ? ready.then(credentialsResponse) : credentialsResponse(ready);
  },
});

const responses = new WeakMap<ReadyCredential, GetCredentialsResponse>();

/** Built once for each credential that is remembered: it lives and dies with it, and is frozen, so that its bytes are kept, too. */
function credentialsResponse(ready: ReadyCredential): GetCredentialsResponse {
  const known = responses.get(ready);
  if (known) return known;
  const { connectionId, generation, kind, fields, secrets } = ready;
  const response = create(GetCredentialsResponseSchema, {
    ...{ connectionId, generation, credential: credentialToProto(ready) },
    ...httpParameters(kind, fields, secrets),
    expireTime: toTimestamp(ready.expireTime),
  });
  responses.set(ready, Object.freeze(response));
  return response;
}

const ORDERS: Record<ConnectionOrder, OrderName> = {
  [ConnectionOrder.UNSPECIFIED]: 'CREATE_TIME_DESC',
  [ConnectionOrder.CREATE_TIME_DESC]: 'CREATE_TIME_DESC',
  [ConnectionOrder.CREATE_TIME_ASC]: 'CREATE_TIME_ASC',
  [ConnectionOrder.UPDATE_TIME_DESC]: 'UPDATE_TIME_DESC',
  [ConnectionOrder.NAME_ASC]: 'NAME_ASC',
};

function orderName(order: ConnectionOrder): OrderName {
  return ORDERS[order] ?? 'CREATE_TIME_DESC';
}

function json(value: JsonObject | undefined): StoredJson | undefined {
  return value as StoredJson | undefined;
}

function optionalSecret(text: string): SecretText | null {
  return text ? new SecretText(text) : null;
}

function emptyAsNull(value: string | undefined): string | null | undefined {
  return value === '' ? null : value;
}
