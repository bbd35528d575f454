import type { Em } from '../../db/transaction.ts';
import { systemCall } from '../access/principal.ts';
import type { App } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';

/** Calls with a connection on a day, UTC, as `2026-11-25`. */
export type UsageCount = { connectionId: string; day: string; calls: number; errors: number; rateLimited: number };

type Unusual = {
  connection_id: string;
  day: string;
  calls: string;
  mean: number;
  version: number;
  owner_user_id: string | null;
  project_id: string | null;
};

/** Calls in a day below which nothing is unusual. */
const LEAST_CALLS = 100;
/** Days that a connection must have been used for before its usage is known. */
const LEAST_DAYS = 3;
const TIMES_THE_MEAN = 10;

/** Adds calls of a tenant's connections, and tells once a day of each that is used ten times as much as in the seven days before. */
export function addUsage(app: App, tenantId: string, counts: readonly UsageCount[]): Promise<void> {
  const call = systemCall(app, tenantId);
  return change(call, async (em) => {
    const given = JSON.stringify(counts);
    await em.execute(ADD, [given, tenantId]);
    for (const { connection_id: id, day, calls, mean, version: generation, ...of } of await markUnusual(
      em,
      tenantId,
      given,
    )) {
      const told = { day, calls: Number(calls), mean: Math.round(mean * 10) / 10 };
      event(
        em,
        call,
        'connection.usage_unusual',
        { type: 'connection', id, generation, ownerUserId: of.owner_user_id, projectId: of.project_id },
        told,
      );
    }
  });
}

const GIVEN = `json_to_recordset(cast(? as json)) as g ("connectionId" text, day date, calls bigint, errors bigint, "rateLimited" bigint)`;

/**
 * Connections that were deleted are passed over; one that is deleted in this moment fails the batch, which is tried again. In the order of their ids, so
 * that no two replicas wait for each other.
 */
const ADD = `
insert into latchkey.connection_usage as u (tenant_id, connection_id, day, calls, errors, rate_limited)
select c.tenant_id, c.id, g.day, g.calls, g.errors, g."rateLimited"
  from ${GIVEN} join latchkey.connection c on c.tenant_id = ? and c.id = g."connectionId" order by g."connectionId", g.day
on conflict (tenant_id, connection_id, day) do update
  set calls = u.calls + excluded.calls, errors = u.errors + excluded.errors, rate_limited = u.rate_limited + excluded.rate_limited`;

/** The mean is over the days since the first use within the seven. The rows are locked since they were added to: each is marked once. */
function markUnusual(em: Em, tenantId: string, given: string): Promise<Unusual[]> {
  return em.execute<Unusual[]>(
    `with given as (select * from ${GIVEN}),
     mean as (
       select t.connection_id, t.day, sum(b.calls)::float8 / (t.day - min(b.day)) as calls
         from latchkey.connection_usage t
         join given g on g."connectionId" = t.connection_id and g.day = t.day
         join latchkey.connection_usage b on b.tenant_id = t.tenant_id and b.connection_id = t.connection_id and b.day between t.day - 7 and t.day - 1
        where t.tenant_id = ? and t.calls >= ? and not t.unusual
        group by t.connection_id, t.day having t.day - min(b.day) >= ?)
     update latchkey.connection_usage u set unusual = true
       from mean m join latchkey.connection c on c.tenant_id = ? and c.id = m.connection_id
      where u.tenant_id = ? and u.connection_id = m.connection_id and u.day = m.day and u.calls > ? * m.calls
     returning u.connection_id, u.day::text, u.calls, m.calls as mean, c.version, c.owner_user_id, c.project_id`,
    [given, tenantId, LEAST_CALLS, LEAST_DAYS, tenantId, tenantId, TIMES_THE_MEAN],
  );
}
