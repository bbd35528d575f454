import { create, type JsonObject, toJsonString } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  ConnectionOrder,
  ConnectionService,
  CreateConnectionRequestSchema,
  type GetCredentialsResponse,
  GetCredentialsResponseSchema,
  ImportAction,
  ImportConflict,
  ProviderRevocation,
} from '../../gen/latchkey/v1/connection_service_pb.ts';
import { SecretText } from '../base/secret-text.ts';
import { ensureTokens } from '../domain/accounts/ensure-tokens.ts';
import { completeAuthorization } from '../domain/authorizations/complete-authorization.ts';
import { getAuthorization } from '../domain/authorizations/get-authorization.ts';
import { startAuthorization } from '../domain/authorizations/start-authorization.ts';
import { watchAuthorization } from '../domain/authorizations/watch-authorization.ts';
import type { Call, ReadyCredential } from '../domain/call.ts';
import { testConnection } from '../domain/checks/test-connection.ts';
import type { ConnectionView } from '../domain/connections/connection-view.ts';
import { createConnection } from '../domain/connections/create-connection.ts';
import { deleteConnection } from '../domain/connections/delete-connection.ts';
import { getConnection } from '../domain/connections/get-connection.ts';
import { getConnectionStatus } from '../domain/connections/get-connection-status.ts';
import { httpParameters } from '../domain/connections/http-parameters.ts';
import { type ImportAction as ActionName, importConnections } from '../domain/connections/import-connections.ts';
import { listConnections, type ConnectionOrder as OrderName } from '../domain/connections/list-connections.ts';
import { revokeConnection } from '../domain/connections/revoke-connection.ts';
import { revokeConnections } from '../domain/connections/revoke-connections.ts';
import type { ProviderRevocation as RevocationName } from '../domain/connections/schedule-revocation.ts';
import { setConnectionEnabled } from '../domain/connections/set-connection-enabled.ts';
import { updateConnection } from '../domain/connections/update-connection.ts';
import { sendRequest } from '../domain/requests/send-request.ts';
import { getCredentials } from '../domain/tokens/get-credentials.ts';
import { refreshConnection } from '../domain/tokens/refresh-connection.ts';
import { getConnectionUsage } from '../domain/usage/get-connection-usage.ts';
import type { JsonObject as StoredJson } from '../model/json.ts';
import { authorizationInput, authorizationToProto, startedToProto } from './authorization.ts';
import { connectionToProto, statusName, statusNumber } from './connection.ts';
import {
  checkStatusNumber,
  healthName,
  healthToProto,
  httpCheckInput,
  scheduleName,
  thresholdsInput,
} from './connection-check.ts';
import { credentialInput, credentialToProto, kindName } from './credential.ts';
import { requestInput, requestResultToProto } from './http-request.ts';
import { implement } from './implement.ts';
import { pageRequest, pageResponse } from './page.ts';
import { fromTimestamp, toTimestamp } from './time.ts';

export const connectionService = implement(ConnectionService, {
  async createConnection(call, request) {
    const { name, displayName, provider, baseUrl, isDefault, providerAccountId, providerAccountEmail } = request;
    const input = {
      ...{ name, displayName, provider, baseUrl, isDefault, providerAccountId, providerAccountEmail },
      allowedHosts: request.allowedHosts.map((host) => host.toLowerCase()),
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
      integrationId: request.integrationId || null,
      httpCheck: httpCheckInput(request.check),
      checkSchedule: scheduleName(request.checkSchedule),
      ...thresholdsInput(request.healthThresholds),
    };
    const content = request.requestId ? toJsonString(CreateConnectionRequestSchema, request) : '';
    const view = await createConnection(call, input, { requestId: request.requestId, content });
    return { connection: connectionToProto(view, call.app.clock.now()) };
  },

  async getConnection(call, { connectionId }) {
    return shown(call, await getConnection(call, connectionId));
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
      integrationId: request.integrationId || undefined,
      expiresBefore: fromTimestamp(request.expiresBefore, 'expires_before'),
      missingScope: request.missingScope,
      health: healthName(request.health),
    };
    const page = await listConnections(call, filter, orderName(request.order), pageRequest(request));
    const now = call.app.clock.now();
    return { connections: page.items.map((view) => connectionToProto(view, now)), ...pageResponse(page) };
  },

  async updateConnection(call, request) {
    const { connectionId, etag, name, displayName, provider, baseUrl, timeoutMs, retries, backoffMs, isDefault } =
      request;
    const patch = {
      ...{ name, displayName, provider, baseUrl, timeoutMs, retries, backoffMs, isDefault },
      allowedHosts: request.allowedHosts?.hosts.map((host) => host.toLowerCase()),
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
      httpCheck: request.check && httpCheckInput(request.check),
      checkSchedule: request.checkSchedule === undefined ? undefined : scheduleName(request.checkSchedule),
      ...(request.healthThresholds ? thresholdsInput(request.healthThresholds) : {}),
      ...(request.webhookSecretOverlapS === undefined
        ? {}
        : { webhookSecretOverlapMs: request.webhookSecretOverlapS * 1_000 }),
    };
    return shown(call, await updateConnection(call, connectionId, etag, patch));
  },

  async deleteConnection(call, { connectionId, etag }) {
    await deleteConnection(call, connectionId, etag);
    return {};
  },

  async enableConnection(call, { connectionId }) {
    return shown(call, await setConnectionEnabled(call, connectionId, true));
  },

  async disableConnection(call, { connectionId }) {
    return shown(call, await setConnectionEnabled(call, connectionId, false));
  },

  async getConnectionStatus(call, { connectionId }) {
    const found = await getConnectionStatus(call, connectionId);
    const { connection, status, reason, advice, expireTime, missingSecrets, tokenValid, refreshFailure } = found;
    return {
      ...{ status: statusNumber(status), reason, advice, missingSecrets },
      expireTime: toTimestamp(expireTime),
      lastTestedAt: toTimestamp(connection.lastTestedAt),
      lastUsedAt: toTimestamp(connection.lastUsedAt),
      ...{ tokenValid, grantedScopes: connection.grantedScopes, missingScopes: connection.missingScopes },
      providerAccountId: connection.providerAccountId,
      providerAccountEmail: connection.providerAccountEmail,
      refreshExpireTime: toTimestamp(found.refreshExpireTime),
      failingSince: toTimestamp(refreshFailure?.since ?? null),
      providerError: refreshFailure?.code ?? '',
      nextAttemptTime: toTimestamp(refreshFailure?.nextAttemptTime ?? null),
      health: healthToProto(found.health),
    };
  },

  async testConnection(call, { connectionId }) {
    const { status, health, ...report } = await testConnection(call, connectionId);
    const success = status === 'VALID' || status === 'RESTRICTED';
    const { accountId: providerAccountId, accountEmail: providerAccountEmail } = report;
    return {
      ...{ success, status: checkStatusNumber(status), tokenValid: success, health: healthToProto(health) },
      ...{ ...report, providerAccountId, providerAccountEmail },
    };
  },

  async getConnectionUsage(call, { connectionId, days }) {
    const usage = await getConnectionUsage(call, connectionId, days || DEFAULT_USAGE_DAYS);
    return {
      days: usage.map(({ date, calls, errors, rateLimited }) => ({
        ...{ date, calls: BigInt(calls), errors: BigInt(errors), rateLimited: BigInt(rateLimited) },
      })),
    };
  },

  getCredentials(call, { connectionId, minValidFor }) {
    const ready = getCredentials(call, connectionId, minValidFor ? durationMs(minValidFor) : null);
    return ready instanceof Promise ? ready.then(credentialsResponse) : credentialsResponse(ready);
  },

  async startAuthorization(call, request) {
    return startedToProto(await startAuthorization(call, authorizationInput(request)));
  },

  async completeAuthorization(call, { callbackQuery }) {
    return { authorization: authorizationToProto(await completeAuthorization(call, callbackQuery)) };
  },

  async getAuthorization(call, { authorizationId }) {
    return { authorization: authorizationToProto(await getAuthorization(call, authorizationId)) };
  },

  async *watchAuthorization(call, { authorizationId }) {
    for await (const view of watchAuthorization(call, authorizationId))
      yield { authorization: authorizationToProto(view) };
  },

  async refreshConnection(call, { connectionId }) {
    const { view, refreshed } = await refreshConnection(call, connectionId);
    return { ...shown(call, view), refreshed };
  },

  async ensureTokens(call, request) {
    const { provider, scopes, returnUrl, minValidFor } = request;
    const ensured = await ensureTokens(call, {
      ...{ provider, scopes, returnUrl, projectId: request.projectId || null },
      minValidForMs: minValidFor ? durationMs(minValidFor) : null,
    });
    if ('started' in ensured) return { result: { case: 'authorization', value: startedToProto(ensured.started) } };
    return { result: { case: 'credentials', value: credentialsResponse(ensured.credential) } };
  },

  async revokeConnection(call, { connectionId }) {
    const { view, providerRevocation } = await revokeConnection(call, connectionId);
    return { ...shown(call, view), providerRevocation: REVOCATIONS[providerRevocation] };
  },

  async revokeConnections(call, { provider, dryRun }) {
    return revokeConnections(call, provider, dryRun);
  },

  async sendRequest(call, request) {
    return requestResultToProto(await sendRequest(call, requestInput(request)));
  },

  async importConnections(call, { documents, dryRun, onConflict, projectId }) {
    const rows = await importConnections(call, {
      ...{ documents: documents as StoredJson[], dryRun, projectId: projectId || null },
      skipTaken: onConflict === ImportConflict.SKIP,
    });
    return {
      rows: rows.map((row, index) => ({ ...row, index, action: ACTIONS[row.action] })),
      createdCount: rows.filter(({ action }) => action === 'CREATED').length,
    };
  },
});

const DEFAULT_USAGE_DAYS = 7;

function shown(call: Call, view: ConnectionView) {
  return { connection: connectionToProto(view, call.app.clock.now()) };
}

const REVOCATIONS: Record<RevocationName, ProviderRevocation> = {
  SCHEDULED: ProviderRevocation.SCHEDULED,
  UNSUPPORTED: ProviderRevocation.UNSUPPORTED,
  SHARED: ProviderRevocation.SHARED,
  NOTHING: ProviderRevocation.NOTHING,
};

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
    warning: ready.warning ?? '',
  });
  responses.set(ready, Object.freeze(response));
  return response;
}

const ACTIONS: Record<ActionName, ImportAction> = {
  CREATED: ImportAction.CREATED,
  WOULD_CREATE: ImportAction.WOULD_CREATE,
  SKIPPED: ImportAction.SKIPPED,
  FAILED: ImportAction.FAILED,
};

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
