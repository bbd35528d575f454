const SECONDS = /^\d+(\.\d+)?$/;
/** Of HTTP, or RFC 3339: `Date.parse` takes much else for one. */
const DATE = /^[A-Z][a-z]{2}|^\d{4}-\d{2}-\d{2}T/;

/** Retry-After (RFC 9110, section 10.2.3) in ms, unbounded: seconds, or a date. Null: it says nothing. */
export function retryAfterMs(value: string | null | undefined, now: number): number | null {
  const text = value?.trim() ?? '';
  return SECONDS.test(text) ? Number(text) * 1000 : msUntil(text, now);
}

/** How long until a date, in ms, 0 where it has passed; null: it is none. */
export function msUntil(date: string, now: number): number | null {
  const time = DATE.test(date) ? Date.parse(date) : Number.NaN;
  return Number.isNaN(time) ? null : Math.max(0, time - now);
}
