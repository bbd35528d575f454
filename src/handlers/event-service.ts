import type { JsonObject, MessageInitShape } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import type { EventSchema } from '../../gen/latchkey/v1/event_pb.ts';
import { type EventFilter, EventOrder, EventService } from '../../gen/latchkey/v1/event_service_pb.ts';
import type { EventFilter as Filter } from '../domain/feeds/event-row.ts';
import type { EventView } from '../domain/feeds/event-views.ts';
import { listEvents } from '../domain/feeds/list-events.ts';
import { watchEvents } from '../domain/feeds/watch-events.ts';
import { implement } from './implement.ts';
import { pageRequest, pageResponse } from './page.ts';
import { fromTimestamp, toTimestamp } from './time.ts';

const HEARTBEAT_MS = 10_000;

export const eventService = implement(EventService, {
  async listEvents(call, request) {
    const filter = {
      ...filterInput(request.filter),
      since: fromTimestamp(request.since, 'since'),
      before: fromTimestamp(request.before, 'before'),
    };
    const order = request.order === EventOrder.CREATE_TIME_ASC ? 'CREATE_TIME_ASC' : 'CREATE_TIME_DESC';
    const page = await listEvents(call, filter, order, pageRequest(request));
    return { events: page.items.map(eventToProto), cursor: page.cursor, ...pageResponse(page) };
  },

  async *watchEvents(call, { cursor, filter, heartbeat }) {
    const heartbeatMs = heartbeat ? durationMs(heartbeat) : HEARTBEAT_MS;
    for await (const told of watchEvents(call, filterInput(filter), cursor, heartbeatMs))
      yield { events: told.events.map(eventToProto), cursor: told.cursor };
  },
});

function filterInput(filter: EventFilter | undefined): Filter {
  const { types = [], aggregateType = '', aggregateId = '', connectionId = '' } = filter ?? {};
  return { types, aggregateType, aggregateId, connectionId };
}

function eventToProto(view: EventView): MessageInitShape<typeof EventSchema> {
  const { id, type, aggregateType, aggregateId, generation, reconnectUrl } = view;
  return {
    ...{ id, type, aggregateType, aggregateId, generation, reconnectUrl },
    payload: view.payload as JsonObject,
    createTime: toTimestamp(view.createTime),
  };
}
