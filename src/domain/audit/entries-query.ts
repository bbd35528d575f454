import { allOf, type Conditions, type TimeOrder } from '../../db/paging.ts';
import { type AuditFilter, kindConditions, selectiveConditions, timeConditions } from './audit-filter.ts';

/** A statement, with `?` for its parameters. */
export type Query = { sql: string; params: readonly unknown[] };
/** Which of the entries that match. */
export type Window = {
  order: TimeOrder;
  /** Id of the entry before the first; null: from where the order begins. */
  after: string | null;
  skip: number;
  limit: number;
  /** Most entries to look at; null: as many as it takes. */
  examine: number | null;
};

const ORDERS = {
  CREATE_TIME_DESC: { direction: 'desc', beyond: '<', last: 'min' },
  CREATE_TIME_ASC: { direction: 'asc', beyond: '>', last: 'max' },
} as const;

/** The kinds of entries that a tenant has, each found in the index after the one before. */
const KINDS = `kinds as (
  (select action, resource_type, actor_kind from latchkey.audit_entry where tenant_id = ? order by action, resource_type, actor_kind limit 1)
  union all
  select n.* from kinds k cross join lateral (
    select action, resource_type, actor_kind from latchkey.audit_entry
     where tenant_id = ? and (action, resource_type, actor_kind) > (k.action, k.resource_type, k.actor_kind)
     order by action, resource_type, actor_kind limit 1) n
)`;

/**
 * Entries that match. Its cost does not depend on how many there are: each filter has its index, and where more than one is given, those that the
 * most selective one finds are looked through, `examine` of them. Answers one row at least; `examined` and `reached` say how many were looked at, and which was the last.
 */
export function entriesQuery(tenantId: string, filter: AuditFilter, window: Window): Query {
  const [leading, ...others] = selectiveConditions(filter);
  const kinds = kindConditions(filter);
  if (!leading && kinds.length > 0) return ofKinds(tenantId, filter, kinds, window);
  const found = where(tenantId, [...(leading ? [leading] : []), ...bounds(filter, window)]);
  const rest = [...others, ...kinds];
  const examine = isLookedThrough(filter) ? window.examine : window.skip + window.limit;
  const { direction, last } = ORDERS[window.order];
  return {
    sql: `with found as (select * from latchkey.audit_entry where ${found.sql} order by id ${direction} limit ?)
      select m.*, looked.* from (select count(*) as examined, ${last}(id) as reached from found) looked
      left join lateral (select * from found where ${rest.length > 0 ? allOf(rest) : 'true'} order by id ${direction} limit ? offset ?) m on true`,
    params: [...found.params, examine, ...rest.flatMap(({ params }) => params), window.limit, window.skip],
  };
}

/** Whether entries that are found may not match, so that a page may end early. */
export function isLookedThrough(filter: AuditFilter): boolean {
  const selective = selectiveConditions(filter).length;
  return selective > 1 || (selective === 1 && kindConditions(filter).length > 0);
}

function ofKinds(tenantId: string, filter: AuditFilter, conditions: Conditions, window: Window): Query {
  const range = bounds(filter, window);
  const inRange = range.length > 0 ? `and ${allOf(range)}` : '';
  const most = window.skip + window.limit;
  const { direction } = ORDERS[window.order];
  return {
    sql: `with recursive ${KINDS}, found as (
      select e.id from (select * from kinds where ${allOf(conditions)}) k cross join lateral (
        select id from latchkey.audit_entry
         where tenant_id = ? and action = k.action and resource_type = k.resource_type and actor_kind = k.actor_kind ${inRange}
         order by id ${direction} limit ?) e
      order by e.id ${direction} limit ? offset ?)
      select m.*, 0 as examined, null as reached from found join latchkey.audit_entry m on m.tenant_id = ? and m.id = found.id order by m.id ${direction}`,
    params: [
      ...[tenantId, tenantId],
      ...conditions.flatMap(({ params }) => params),
      ...[tenantId, ...range.flatMap(({ params }) => params), most],
      ...[window.limit, window.skip, tenantId],
    ],
  };
}

/** How many match. */
export function countQuery(tenantId: string, filter: AuditFilter): Query {
  const { sql, params } = where(tenantId, [
    ...selectiveConditions(filter),
    ...kindConditions(filter),
    ...timeConditions(filter),
  ]);
  return { sql: `select count(*) as total from latchkey.audit_entry where ${sql}`, params };
}

function bounds(filter: AuditFilter, { order, after }: Window): Conditions {
  return [...timeConditions(filter), ...(after ? [{ sql: `id ${ORDERS[order].beyond} ?`, params: [after] }] : [])];
}

function where(tenantId: string, conditions: Conditions): Query {
  const all = [{ sql: 'tenant_id = ?', params: [tenantId] as readonly unknown[] }, ...conditions];
  return { sql: allOf(all), params: all.flatMap(({ params }) => params) };
}
