import { msUntil, retryAfterMs as standardMs } from '../../base/retry-after.ts';
import type { RateLimitHeader } from '../../providers/types.ts';

type Format = RateLimitHeader['format'];
/** An answer's headers, by name in any case. */
type Headers = { get(name: string): string | null };

const SECONDS = /^\d+(\.\d+)?$/;
const DURATION = /^(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?$/;
/** Above it a number is a time since the epoch, whatever the catalog calls it. */
const LONGEST_MS = 366 * 24 * 3_600_000;

/**
 * How long the other side asks to wait, in ms: `Retry-After` in seconds or as a date (RFC 9110, section 10.2.3), else the provider's own headers, the longest of
 * them; null: it does not say.
 * @param now in ms since the epoch
 */
export function retryAfterMs(headers: Headers, own: readonly RateLimitHeader[], now: number): number | null {
  const waits = [bounded(standardMs(headers.get('retry-after'), now))];
  if (waits[0] === null)
    for (const { name, format, remaining } of own) {
      // A limit that is not used up is no reason to wait.
      if (remaining && headers.get(remaining) !== '0') continue;
      const value = headers.get(name);
      if (value !== null) waits.push(wait(value, format, now));
    }
  const known = waits.filter((ms): ms is number => ms !== null);
  return known.length === 0 ? null : Math.max(...known);
}

function wait(text: string, format: Format, now: number): number | null {
  return bounded(parse(text.trim(), format, now));
}

function bounded(ms: number | null): number | null {
  return ms !== null && ms <= LONGEST_MS ? Math.max(0, ms) : null;
}

function parse(value: string, format: Format, now: number): number | null {
  const number = SECONDS.test(value) ? Number(value) : null;
  switch (format) {
    case 'seconds':
      return number === null ? null : number * 1000;
    case 'milliseconds':
      return number;
    case 'epoch_seconds':
      return number === null ? null : number * 1000 - now;
    case 'duration':
      return durationMs(value);
    case 'date':
      return msUntil(value, now);
  }
}

/** As `6m0s`, `1.5s`, `20ms`. */
function durationMs(value: string): number | null {
  const [all, h = 0, m = 0, s = 0, ms = 0] = DURATION.exec(value) ?? [];
  return all ? Number(h) * 3_600_000 + Number(m) * 60_000 + Number(s) * 1000 + Number(ms) : null;
}
