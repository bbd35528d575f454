import { LockMode } from '@mikro-orm/core';
import { hot } from '../../db/hot.ts';
import { Connection } from '../../model/connection.ts';
import { systemCall } from '../access/principal.ts';
import type { App, Call } from '../call.ts';
import { change, read } from '../change.ts';
import { nextCheckMs } from '../connections/check-schedule.ts';
import { viewOf } from '../connections/connection-view.ts';
import { checkConnection } from './check-connection.ts';
import type { CheckReport } from './check-report.ts';
import { healthOf, recordCheck } from './record-check.ts';

/** What claiming, loading and recording take beside the check itself; then the claim of a replica that died is taken over. */
const MARGIN_MS = 10_000;
/** What failed for a reason of our own is tried again. */
const AGAIN_MS = 60_000;

type Due = { tenantId: string; connectionId: string };

/** Makes a check that is due, unless another replica does. Where the signal ends it, another replica makes it. Throws what says nothing of the connection. */
export async function runDueCheck(app: App, { tenantId, connectionId }: Due, signal: AbortSignal): Promise<void> {
  const [claim] = await hot<{ epoch: number | null }>(app.pool, 'claimCheck', [tenantId, connectionId, MARGIN_MS]);
  const epoch = claim?.epoch;
  if (epoch === null || epoch === undefined) return;
  const call = checkingCall(app, tenantId, signal);
  try {
    const view = await read(call, async (em) => {
      const connection = await em.findOne(Connection, { tenantId, id: connectionId });
      return connection && viewOf(em, connection);
    });
    if (view) await record(call, connectionId, epoch, await checkConnection(call, view));
  } catch (error) {
    const delayMs = signal.aborted ? 0 : AGAIN_MS;
    await hot(app.pool, 'postponeCheck', [tenantId, connectionId, epoch, delayMs]).catch(() => {});
    throw error;
  }
}

/** Latchkey itself may use a connection, for nothing but this. */
function checkingCall(app: App, tenantId: string, signal: AbortSignal): Call {
  const call = systemCall(app, tenantId);
  return { ...call, signal, principal: { ...call.principal, permissions: new Set(['connection:use']) } };
}

/** Whoever lost the lease by now, as after a freeze, says nothing. */
function record(call: Call, id: string, epoch: number, report: CheckReport): Promise<void> {
  const { tenantId } = call.principal;
  return change(call, async (em) => {
    const connection = await em.findOne(Connection, { tenantId, id }, { lockMode: LockMode.PESSIMISTIC_WRITE });
    const health = connection && (await healthOf(em, connection));
    if (health?.leaseEpoch !== epoch) return;
    await recordCheck(em, call, connection!, health, report);
    await em.flush();
    const nextMs = nextCheckMs(connection!.checkSchedule, Math.random());
    await em.execute(
      `update latchkey.connection_health set lease_until = null, check_due = clock_timestamp() + cast(? as integer) * interval '1 ms'
        where tenant_id = ? and connection_id = ?`,
      [nextMs, tenantId, id],
    );
  });
}
