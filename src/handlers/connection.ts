import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ConnectionSchema } from '../../gen/latchkey/v1/connection_pb.ts';
import { ConnectionStatus } from '../../gen/latchkey/v1/connection_pb.ts';
import { type ConnectionStatus as StatusName, statusOf } from '../domain/connections/connection-status.ts';
import type { ConnectionView } from '../domain/connections/connection-view.ts';
import { healthToProto, scheduleNumber } from './connection-check.ts';
import { kindNumber } from './credential.ts';
import { toTimestamp } from './time.ts';

/** A connection as the contract says it. */
export function connectionToProto(view: ConnectionView, now: number): MessageInitShape<typeof ConnectionSchema> {
  const { connection, configSummary, expireTime } = view;
  const { id, name, displayName, provider, baseUrl, defaultHeaders, timeoutMs, retries, backoffMs, isDefault, labels } =
    connection;
  const { metadata, config, providerAccountId, providerAccountEmail, providerAccountMetadata, enabled } = connection;
  return {
    ...{ id, name, displayName, provider, baseUrl, defaultHeaders, timeoutMs, retries, backoffMs, isDefault, labels },
    ...{ metadata, config, configSummary, providerAccountId, providerAccountEmail, providerAccountMetadata, enabled },
    allowedHosts: connection.allowedHosts,
    projectId: connection.projectId ?? '',
    ownerUserId: connection.ownerUserId ?? '',
    kind: kindNumber(connection.kind),
    hasWebhookSignatureSecret: connection.webhookSignatureSecret !== null,
    previousWebhookSecretExpireTime: toTimestamp(connection.previousWebhookSecretExpireTime),
    expireTime: toTimestamp(expireTime),
    lastTestedAt: toTimestamp(connection.lastTestedAt),
    lastUsedAt: toTimestamp(connection.lastUsedAt),
    createTime: toTimestamp(connection.createTime),
    updateTime: toTimestamp(connection.updateTime),
    etag: connection.etag(),
    integrationId: connection.integrationId ?? '',
    status: statusNumber(statusOf(view, now).status),
    requestedScopes: connection.requestedScopes,
    grantedScopes: connection.grantedScopes,
    missingScopes: connection.missingScopes,
    check: connection.httpCheck ?? undefined,
    checkSchedule: scheduleNumber(connection.checkSchedule),
    healthThresholds: { failures: connection.failureThreshold, recoveries: connection.recoveryThreshold },
    health: healthToProto(view.health),
  };
}

const STATUSES: Record<StatusName, ConnectionStatus> = {
  ACTIVE: ConnectionStatus.ACTIVE,
  DISABLED: ConnectionStatus.DISABLED,
  EXPIRED: ConnectionStatus.EXPIRED,
  MISCONFIGURED: ConnectionStatus.MISCONFIGURED,
  PENDING: ConnectionStatus.PENDING,
  REAUTHORIZATION_REQUIRED: ConnectionStatus.REAUTHORIZATION_REQUIRED,
  REVOKED: ConnectionStatus.REVOKED,
  EXPIRING: ConnectionStatus.EXPIRING,
  REFRESH_FAILING: ConnectionStatus.REFRESH_FAILING,
};

export function statusNumber(status: StatusName): ConnectionStatus {
  return STATUSES[status];
}

/** Undefined for UNSPECIFIED. */
export function statusName(status: ConnectionStatus): StatusName | undefined {
  return (Object.keys(STATUSES) as StatusName[]).find((name) => STATUSES[name] === status);
}
