import type { ConnectionHealth } from '../../model/connection-health.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change, read } from '../change.ts';
import { viewOf } from '../connections/connection-view.ts';
import { findConnection, lockConnection } from '../connections/find-connection.ts';
import { event } from '../events/event.ts';
import { checkConnection } from './check-connection.ts';
import type { CheckReport } from './check-report.ts';
import { healthOf, recordCheck } from './record-check.ts';
import { takeTurn } from './take-turn.ts';

/**
 * Tries a connection now. What it finds out, good or bad, is the answer, and counts for its health.
 * Fails with CONNECTION_NOT_FOUND, PERMISSION_MISSING, RATE_LIMITED, AUDIT_UNAVAILABLE.
 */
export async function testConnection(call: Call, id: string): Promise<CheckReport & { health: ConnectionHealth }> {
  const view = await read(call, async (em) => viewOf(em, await findConnection(em, call, id, 'connection:use')));
  await takeTurn(call);
  const report = await checkConnection(call, view);
  return change(call, async (em) => {
    const connection = await lockConnection(em, call, id, 'connection:use');
    const health = await healthOf(em, connection);
    await recordCheck(em, call, connection, health, report);
    const { status, statusCode, reason, latencyMs } = report;
    const told = { status, status_code: statusCode, reason, latency_ms: latencyMs };
    audit(em, call, 'connection_tested', { type: 'connection', id }, { after: told });
    event(em, call, 'connection.tested', connection.aggregate(), told);
    return { ...report, health };
  });
}
