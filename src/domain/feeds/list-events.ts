import { fieldInvalid } from '../../base/error.ts';
import { type Conditions, listPage, type Page, type PageRequest } from '../../db/paging.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { isEventType } from '../events/event-types.ts';
import { cursorText, headOf } from './event-cursor.ts';
import { type EventFilter, eventOf, eventsSeenBy, matchingConditions, type StoredEvent } from './event-row.ts';
import { type EventView, eventViews } from './event-views.ts';

export type EventOrder = 'CREATE_TIME_DESC' | 'CREATE_TIME_ASC';
/** In the order of writing, which tells how much happens in other tenants: a page token keeps the id instead. What came before one that is gone is gone, too. */
const SEQ_OF_ID = `coalesce((select e.seq from latchkey.outbox e where e.tenant_id = current_setting('latchkey.tenant') and e.id = ?), 0)`;

type Times = { since: Date | null; before: Date | null };

/** Lists the events that the caller may see, with a cursor to watch on from. Fails with PAGE_TOKEN_INVALID. */
export async function listEvents(
  call: Call,
  filter: EventFilter & Times,
  order: EventOrder,
  request: PageRequest,
): Promise<Page<EventView> & { cursor: string }> {
  const { app, principal } = call;
  const { tenantId } = principal;
  refuseUnknownTypes(filter);
  const time = app.clock.now();
  const head = await headOf(app, tenantId);
  const page = await read(call, (em) =>
    listPage<StoredEvent>(
      em,
      app.pageTokens,
      tenantId,
      {
        table: 'outbox',
        conditions: [...eventsSeenBy(principal), ...matchingConditions(filter), ...timesConditions(filter)],
        orderBy: [{ column: 'seq', value: SEQ_OF_ID }],
        descending: order === 'CREATE_TIME_DESC',
        sortValues: (row) => [row.id],
      },
      request,
    ),
  );
  const items = await eventViews(call, page.items.map(eventOf));
  return { ...page, items, cursor: cursorText(app, tenantId, head, time) };
}

/** A type that does not exist is a mistake, which would go unnoticed for ever. Fails with FIELD_INVALID. */
export function refuseUnknownTypes({ types }: EventFilter): void {
  const unknown = types.find((type) => !isEventType(type));
  if (unknown !== undefined) throw fieldInvalid('filter.types', `there is no type ${unknown}`);
}

function timesConditions({ since, before }: Times): Conditions {
  const conditions: Conditions = [];
  if (since) conditions.push({ sql: 'create_time >= cast(? as timestamptz)', params: [since.toISOString()] });
  if (before) conditions.push({ sql: 'create_time < cast(? as timestamptz)', params: [before.toISOString()] });
  return conditions;
}
