/** What a moment showed: the most calls that were at work, and for how long whoever needed the event loop, or a database connection, waited at the least. */
export type Moment = { peak: number; loopMs: number; databaseMs: number };
export type Bounds = { least: number; most: number };
/** What a call is to who must refuse some: whether its tenant has less than its share of what is at work, and whether others wait for it more than for most. */
export type Standing = { withinShare: boolean; urgent: boolean };

/** A queue that stood for the whole of a moment is more than a burst (CoDel, RFC 8289): then there is less to be at work. */
const STANDING_LOOP_MS = 20;
const STANDING_DATABASE_MS = 10;
const DECREASE = 0.85;
const INCREASE = 1.05;

/** How many calls may be at work in the next moment. It falls fast to what is bearable, and comes back by itself. */
export function nextLimit(limit: number, { peak, loopMs, databaseMs }: Moment, { least, most }: Bounds): number {
  if (loopMs > STANDING_LOOP_MS || databaseMs > STANDING_DATABASE_MS)
    return Math.min(most, Math.max(least, Math.floor(Math.min(limit, peak) * DECREASE)));
  return Math.min(most, Math.ceil(limit * INCREASE));
}

/** How many may be at work for a call of this standing to be taken as well. */
export function roomFor(limit: number, { withinShare, urgent }: Standing): number {
  return limit * (1 + (withinShare ? 0.5 : 0) + (urgent ? 0.25 : 0));
}
