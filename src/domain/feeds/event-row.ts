import { hot } from '../../db/hot.ts';
import type { Conditions } from '../../db/paging.ts';
import { oneOf } from '../../db/paging.ts';
import type { JsonObject } from '../../model/json.ts';
import type { EventRow } from '../../model/outbox-event.ts';
import type { Permission } from '../access/permissions.ts';
import type { App, Principal } from '../call.ts';
import { canSee, seenBy } from '../connections/visibility.ts';

/** A row as the driver answers it. */
export type StoredEvent = {
  tenant_id: string;
  id: string;
  type: string;
  aggregate_type: string;
  aggregate_id: string;
  generation: number;
  owner_user_id: string | null;
  project_id: string | null;
  payload: JsonObject;
  create_time: string | Date;
  position: string | null;
};

export type EventFilter = {
  /** Empty: any. */
  types: string[];
  /** Empty: any. */
  aggregateType: string;
  aggregateId: string;
  connectionId: string;
};

/** What it takes to see events about things, beside being one of those whose they are; null: nothing. Those of other things are for administrators. */
const PERMISSIONS: Record<string, Permission | null> = {
  ...{ connection: null, account: null, tenant: null },
  ...{ integration: 'integration:read', provider: 'integration:read', secret: 'secret:read' },
  ...{ user: 'user:read', api_key: 'api_key:read' },
  ...{ delivery: 'webhook:read', inbound_endpoint: 'webhook:read', inbound_message: 'webhook:read' },
  ...{ event_endpoint: 'webhook:read', connector: 'connector:read' },
};

export function eventOf(row: StoredEvent): EventRow {
  return {
    ...{
      tenantId: row.tenant_id,
      id: row.id,
      type: row.type,
      aggregateType: row.aggregate_type,
      aggregateId: row.aggregate_id,
    },
    ...{ generation: row.generation, ownerUserId: row.owner_user_id, projectId: row.project_id, payload: row.payload },
    ...{ createTime: new Date(row.create_time), position: Number(row.position ?? 0) },
  };
}

/** A tenant's events after a position, in their order. */
export async function readEvents(app: App, tenantId: string, after: number, most: number): Promise<EventRow[]> {
  return (await hot<StoredEvent>(app.pool, 'readEvents', [tenantId, after, most])).map(eventOf);
}

/** Whether the caller may see an event: as they may see what it is about. */
export function seesEvent(principal: Principal, row: EventRow): boolean {
  if (principal.administrator) return true;
  return maySee(principal, row.aggregateType) && canSee(principal, 'connection:read', row);
}

/** The same as conditions on rows. */
export function eventsSeenBy(principal: Principal): Conditions {
  if (principal.administrator) return [];
  const types = Object.keys(PERMISSIONS).filter((type) => maySee(principal, type));
  return [oneOf('aggregate_type', types), ...seenBy(principal)];
}

function maySee({ permissions }: Principal, aggregateType: string): boolean {
  const permission = PERMISSIONS[aggregateType];
  return permission === null || (permission !== undefined && permissions.has(permission));
}

export function matches({ types, aggregateType, aggregateId, connectionId }: EventFilter, row: EventRow): boolean {
  if (types.length > 0 && !types.includes(row.type)) return false;
  if (aggregateType && row.aggregateType !== aggregateType) return false;
  if (aggregateId && row.aggregateId !== aggregateId) return false;
  return !connectionId || (row.aggregateType === 'connection' && row.aggregateId === connectionId);
}

/** The same as conditions on rows. */
export function matchingConditions({ types, aggregateType, aggregateId, connectionId }: EventFilter): Conditions {
  const conditions: Conditions = [];
  if (types.length > 0) conditions.push(oneOf('type', types));
  if (aggregateType) conditions.push({ sql: 'aggregate_type = ?', params: [aggregateType] });
  if (aggregateId) conditions.push({ sql: 'aggregate_id = ?', params: [aggregateId] });
  if (connectionId)
    conditions.push({ sql: "aggregate_type = 'connection' and aggregate_id = ?", params: [connectionId] });
  return conditions;
}
