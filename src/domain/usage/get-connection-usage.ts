import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { findConnection } from '../connections/find-connection.ts';

/** One day in UTC, as `2026-11-25`. */
export type UsageDay = { date: string; calls: number; errors: number; rateLimited: number };

type Row = { date: string; calls: string; errors: string; rate_limited: string };

/** The last days of a connection, today included, oldest first, those without calls, too. Fails with CONNECTION_NOT_FOUND. */
export function getConnectionUsage(call: Call, id: string, days: number): Promise<UsageDay[]> {
  const { tenantId } = call.principal;
  return read(call, async (em) => {
    await findConnection(em, call, id, 'connection:read');
    const today = new Date(call.app.clock.now()).toISOString().slice(0, 10);
    const rows = await em.execute<Row[]>(
      `select to_char(d.day, 'YYYY-MM-DD') as date, coalesce(u.calls, 0) as calls, coalesce(u.errors, 0) as errors, coalesce(u.rate_limited, 0) as rate_limited
         from (select cast(? as date) - n as day from generate_series(0, ? - 1) as n) d
         left join latchkey.connection_usage u on u.tenant_id = ? and u.connection_id = ? and u.day = d.day
        order by d.day`,
      [today, days, tenantId, id],
    );
    return rows.map(({ date, calls, errors, rate_limited: rateLimited }) => ({
      ...{ date, calls: Number(calls), errors: Number(errors), rateLimited: Number(rateLimited) },
    }));
  });
}
