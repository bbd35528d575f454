import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  CheckSchedule,
  ConnectionCheckStatus,
  ConnectionHealth,
  type HealthReportSchema,
  type HealthThresholds,
  type HttpCheck,
} from '../../gen/latchkey/v1/connection_pb.ts';
import { DEFAULT_CHECKS } from '../domain/connections/create-connection.ts';
import type { HttpCheck as StoredCheck, CheckSchedule as StoredSchedule } from '../model/connection.ts';
import type { CheckStatus, Health, ConnectionHealth as StoredHealth } from '../model/connection-health.ts';
import { toTimestamp } from './time.ts';

const STATUSES: Record<CheckStatus, ConnectionCheckStatus> = {
  VALID: ConnectionCheckStatus.VALID,
  RESTRICTED: ConnectionCheckStatus.RESTRICTED,
  INVALID: ConnectionCheckStatus.INVALID,
  UNREACHABLE: ConnectionCheckStatus.UNREACHABLE,
  UNKNOWN: ConnectionCheckStatus.UNKNOWN,
  RATE_LIMITED: ConnectionCheckStatus.RATE_LIMITED,
  DISABLED: ConnectionCheckStatus.DISABLED,
  PENDING: ConnectionCheckStatus.PENDING,
  REVOKED: ConnectionCheckStatus.REVOKED,
  REAUTHORIZATION_REQUIRED: ConnectionCheckStatus.REAUTHORIZATION_REQUIRED,
  EXPIRED: ConnectionCheckStatus.EXPIRED,
  MISCONFIGURED: ConnectionCheckStatus.MISCONFIGURED,
  UNSUPPORTED: ConnectionCheckStatus.UNSUPPORTED,
};
const SCHEDULES: Record<StoredSchedule, CheckSchedule> = {
  OFF: CheckSchedule.OFF,
  HOURLY: CheckSchedule.HOURLY,
  EVERY_6_HOURS: CheckSchedule.EVERY_6_HOURS,
  DAILY: CheckSchedule.DAILY,
  WEEKLY: CheckSchedule.WEEKLY,
};
const HEALTHS: Record<Health, ConnectionHealth> = {
  UNKNOWN: ConnectionHealth.UNKNOWN,
  HEALTHY: ConnectionHealth.HEALTHY,
  UNHEALTHY: ConnectionHealth.UNHEALTHY,
};

export function checkStatusNumber(status: CheckStatus): ConnectionCheckStatus {
  return STATUSES[status];
}

export function scheduleNumber(schedule: StoredSchedule): CheckSchedule {
  return SCHEDULES[schedule];
}

/** OFF for UNSPECIFIED. */
export function scheduleName(schedule: CheckSchedule): StoredSchedule {
  return (Object.keys(SCHEDULES) as StoredSchedule[]).find((name) => SCHEDULES[name] === schedule) ?? 'OFF';
}

/** Undefined for UNSPECIFIED. */
export function healthName(health: ConnectionHealth): Health | undefined {
  return (Object.keys(HEALTHS) as Health[]).find((name) => HEALTHS[name] === health);
}

/** Null where nothing is said. */
export function httpCheckInput(check: HttpCheck | undefined): StoredCheck | null {
  if (!check || (check.path === '' && check.method === '' && Object.keys(check.outcomes).length === 0)) return null;
  const { path, method, outcomes } = check;
  return { path, method: (method || 'GET') as StoredCheck['method'], outcomes: outcomes as StoredCheck['outcomes'] };
}

/** Defaults for what is not set. */
export function thresholdsInput(thresholds: HealthThresholds | undefined) {
  return {
    failureThreshold: thresholds?.failures ?? DEFAULT_CHECKS.failureThreshold,
    recoveryThreshold: thresholds?.recoveries ?? DEFAULT_CHECKS.recoveryThreshold,
  };
}

/** What checks found out; null: nothing yet. */
export function healthToProto(health: StoredHealth | null): MessageInitShape<typeof HealthReportSchema> {
  if (!health) return { health: ConnectionHealth.UNKNOWN };
  return {
    health: HEALTHS[health.health],
    since: toTimestamp(health.since),
    consecutiveFailures: health.failures,
    lastStatus: health.lastStatus ? STATUSES[health.lastStatus] : ConnectionCheckStatus.UNSPECIFIED,
    lastMessage: health.lastMessage,
    nextCheckTime: toTimestamp(health.checkDue),
  };
}
