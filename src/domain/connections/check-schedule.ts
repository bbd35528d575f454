import type { Em } from '../../db/transaction.ts';
import type { CheckSchedule, Connection } from '../../model/connection.ts';
import type { Call } from '../call.ts';
import { refuseUnlessPermitted } from './visibility.ts';

const HOUR_MS = 3_600_000;
const PERIODS_MS: Record<Exclude<CheckSchedule, 'OFF'>, number> = {
  HOURLY: HOUR_MS,
  EVERY_6_HOURS: 6 * HOUR_MS,
  DAILY: 24 * HOUR_MS,
  WEEKLY: 168 * HOUR_MS,
};
/** Connections that are made together are not checked together. */
const FIRST_WITHIN_MS = 300_000;
/** How far times are spread, as a part of the period. */
const SPREAD = 0.1;

/** After how many ms the next check is due; null: never. `chance` is a number from 0 up to 1. */
export function nextCheckMs(schedule: CheckSchedule, chance: number): number | null {
  return schedule === 'OFF' ? null : Math.round(PERIODS_MS[schedule] * (1 - SPREAD + 2 * SPREAD * chance));
}

/** Makes the first check due, some time within the next minutes, or none any more. */
export async function scheduleChecks(em: Em, { tenantId, id, checkSchedule }: Connection): Promise<void> {
  const delayMs = checkSchedule === 'OFF' ? null : Math.round(Math.random() * FIRST_WITHIN_MS);
  await em.execute(
    `insert into latchkey.connection_health as h (tenant_id, connection_id, check_due)
       values (?, ?, clock_timestamp() + cast(? as integer) * interval '1 ms')
     on conflict (tenant_id, connection_id) do update set check_due = excluded.check_due`,
    [tenantId, id, delayMs],
  );
}

type CheckSettings = Pick<Connection, 'httpCheck' | 'checkSchedule'>;

/** A check sends the credential, by itself too: who asks for one must be allowed to use the connection. Fails with PERMISSION_MISSING. */
export function refuseUnlessMayCheck(
  { principal }: Call,
  connection: Pick<Connection, 'ownerUserId' | 'projectId'>,
  { httpCheck, checkSchedule = 'OFF' }: { [Field in keyof CheckSettings]?: CheckSettings[Field] | undefined },
): void {
  if (httpCheck || checkSchedule !== 'OFF') refuseUnlessPermitted(principal, 'connection:use', connection);
}
