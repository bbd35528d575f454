import { LockMode } from '@mikro-orm/core';
import type { Em } from '../../db/transaction.ts';
import type { Connection } from '../../model/connection.ts';
import { ConnectionHealth } from '../../model/connection-health.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { event } from '../events/event.ts';
import type { CheckReport } from './check-report.ts';
import { decideHealth } from './decide-health.ts';

/** Writes down what a check found out of a connection that is locked, and tells of its health where that changed. */
export async function recordCheck(
  em: Em,
  call: Call,
  connection: Connection,
  health: ConnectionHealth,
  { status, message, statusCode }: CheckReport,
): Promise<void> {
  const now = new Date(call.app.clock.now());
  const { id, failureThreshold, recoveryThreshold } = connection;
  const before = health.health;
  const thresholds = { failures: failureThreshold, recoveries: recoveryThreshold };
  em.assign(health, { ...decideHealth(health, status, thresholds), lastStatus: status, lastMessage: message });
  // No etag: nothing of the connection itself changed.
  connection.lastTestedAt = now;
  if (health.health === before) return;
  health.since = now;
  const told = { health: health.health, failures: health.failures, status, status_code: statusCode, message };
  const resource = { type: 'connection', id };
  audit(em, call, 'connection_health_changed', resource, { before: { health: before }, after: told });
  event(em, call, 'connection.health_changed', connection.aggregate(), { previous: before, ...told });
}

/** The health of a connection that is locked. */
export async function healthOf(em: Em, { tenantId, id: connectionId }: Connection): Promise<ConnectionHealth> {
  const known = await em.findOne(
    ConnectionHealth,
    { tenantId, connectionId },
    { lockMode: LockMode.PESSIMISTIC_WRITE },
  );
  if (known) return known;
  const fresh = { health: 'UNKNOWN' as const, since: null, failures: 0, successes: 0, lastStatus: '' as const };
  return em.create(ConnectionHealth, {
    ...{ tenantId, connectionId, ...fresh, lastMessage: '', checkDue: null, leaseUntil: null, leaseEpoch: 0 },
  });
}
