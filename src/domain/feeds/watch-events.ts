import { LatchkeyError } from '../../base/error.ts';
import { refuseUnlessValid } from '../access/refuse-unless-valid.ts';
import type { App, Call, EventFeed } from '../call.ts';
import { placeEvents } from '../events/place-events.ts';
import { cursorText, headOf, type Place, placeOf } from './event-cursor.ts';
import { type EventFilter, matches, seesEvent } from './event-row.ts';
import { type EventView, eventViews } from './event-views.ts';
import { refuseUnknownTypes } from './list-events.ts';

/** Events, or none, and where to go on after them. */
export type WatchedEvents = { events: EventView[]; cursor: string };

const MOST_OF_TENANT = 1_000;
/** How often it is looked whether the caller's credential still holds, before anything is told. */
const CHECK_MS = 4_000;

/**
 * Tells events that the caller may see from a cursor on, or from now, until the caller leaves; without events, a cursor every `heartbeatMs`. Nothing is read ahead of
 * who takes it. Fails with CURSOR_INVALID,
 * CURSOR_EXPIRED, OVERLOADED, SHUTTING_DOWN, and with CREDENTIALS_INVALID once the caller's credential has ended.
 */
export async function* watchEvents(
  call: Call,
  filter: EventFilter,
  cursor: string,
  heartbeatMs: number,
): AsyncGenerator<WatchedEvents> {
  const { app, principal } = call;
  const { tenantId } = principal;
  refuseUnknownTypes(filter);
  const slot = app.watches.take(tenantId, MOST_OF_TENANT);
  if (!slot) throw new LatchkeyError('OVERLOADED', { retryAfterMs: 1_000 });
  try {
    const { feed, close } = await app.eventFeeds.open(app, tenantId);
    try {
      yield* follow(call, feed, filter, cursor, heartbeatMs);
    } finally {
      close();
    }
  } finally {
    slot.done();
  }
}

/** The end of what has happened by now. */
async function nowOf(app: App, tenantId: string): Promise<Place> {
  while (await placeEvents(app.pool, true));
  return headOf(app, tenantId);
}

async function* follow(
  call: Call,
  feed: EventFeed,
  filter: EventFilter,
  cursor: string,
  heartbeatMs: number,
): AsyncGenerator<WatchedEvents> {
  const { app, principal, signal } = call;
  const { tenantId } = principal;
  const startTime = app.clock.now();
  let place = cursor ? await placeOf(app, tenantId, cursor) : await nowOf(app, tenantId);
  let text = cursor || cursorText(app, tenantId, place, startTime);
  yield { events: [], cursor: text };
  let checkedAt = performance.now();
  for (let toldAt = checkedAt; !signal.aborted; ) {
    const leftMs = Math.max(0, toldAt + heartbeatMs - performance.now());
    const { rows, position, time } = await feed.after(place.position, leftMs, signal);
    place = { id: rows.at(-1)?.id ?? place.id, position };
    if (time !== null) text = cursorText(app, tenantId, place, time);
    const seen = rows.filter((row) => matches(filter, row) && seesEvent(principal, row));
    if (seen.length === 0 && performance.now() - toldAt < heartbeatMs) continue;
    if (performance.now() - checkedAt > CHECK_MS) {
      await refuseUnlessValid(call);
      checkedAt = performance.now();
    }
    yield { events: await eventViews(call, seen), cursor: text };
    toldAt = performance.now();
  }
}
