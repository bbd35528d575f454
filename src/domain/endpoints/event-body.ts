import type { JsonObject } from '../../model/json.ts';
import type { EventRow } from '../../model/outbox-event.ts';

/** An event as endpoints are sent it, in the shape of Standard Webhooks. */
export type EventBody = {
  type: string;
  /** When it happened (RFC 3339). */
  timestamp: string;
  data: JsonObject;
};

/** The same event has the same body each time, but for what is added to it. */
export function eventBody({ id, type, createTime, projectId, ...event }: EventRow): EventBody {
  const { aggregateType: aggregate_type, aggregateId: aggregate_id, generation, payload } = event;
  const data = { id, aggregate_type, aggregate_id, generation, project_id: projectId, payload };
  return { type, timestamp: createTime.toISOString(), data };
}
