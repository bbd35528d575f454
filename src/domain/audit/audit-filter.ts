import { leastId } from '../../base/id.ts';
import type { Conditions } from '../../db/paging.ts';
import type { ActorKind } from '../../model/audit-entry.ts';

/** What entries are asked for. Empty, undefined or null: any. */
export type AuditFilter = {
  actorKind: ActorKind | undefined;
  actorId: string;
  onBehalfOf: string;
  action: string;
  actionPrefix: string;
  resourceType: string;
  resourceId: string;
  requestId: string;
  /** From then on. */
  startTime: Date | null;
  /** Before then. */
  endTime: Date | null;
};

/** Filters by values of which a log has many, the one that leaves the fewest entries first. Each has an index. */
export function selectiveConditions(filter: AuditFilter): Conditions {
  const onBehalfOf = filter.onBehalfOf && {
    sql: "on_behalf_of = ? and on_behalf_of <> ''",
    params: [filter.onBehalfOf],
  };
  return [
    ...equals('request_id', filter.requestId),
    ...equals('resource_id', filter.resourceId),
    ...(onBehalfOf ? [onBehalfOf] : []),
    ...equals('actor_id', filter.actorId),
  ];
}

/** Filters by kinds of entries, of which a log has few. One index serves them all. */
export function kindConditions(filter: AuditFilter): Conditions {
  const { action, actionPrefix, resourceType, actorKind } = filter;
  const prefix = actionPrefix && { sql: 'starts_with(action, ?)', params: [actionPrefix] };
  return [
    ...equals('action', action),
    ...(prefix ? [prefix] : []),
    ...equals('resource_type', resourceType),
    ...equals('actor_kind', actorKind ?? ''),
  ];
}

/** Ids sort by time. */
export function timeConditions({ startTime, endTime }: AuditFilter): Conditions {
  return [
    ...(startTime ? [{ sql: 'id >= ?', params: [leastId('aud', startTime.getTime())] }] : []),
    ...(endTime ? [{ sql: 'id < ?', params: [leastId('aud', endTime.getTime())] }] : []),
  ];
}

function equals(column: string, value: string): Conditions {
  return value ? [{ sql: `${column} = ?`, params: [value] }] : [];
}
