/** When a token ends, and how long it lives. All in ms; times since the epoch. */
export type TokenTimes = {
  /** Null: never, or nobody knows. */
  expireAt: number | null;
  /** When it was new; null: nobody knows. */
  lifetimeMs: number | null;
  /** 0 to 1, by connection: spreads tokens that expire together. */
  jitter: number;
};

export type RefreshDecision = { do: 'serve' } | { do: 'serve_and_refresh' } | { do: 'refresh' } | { do: 'refuse' };

const DEFAULT_LIFETIME_MS = 3_600_000;
const LEAST_SOFT_MS = 300_000;
const LONGEST_HARD_MS = 60_000;
const JITTER_SHARE = 0.1;

/** When a token is renewed although it still works: min(max(5 min, 20 % of its life), 50 % of its life) before its end, and up to a tenth of its life earlier. */
export function softExpiry({ expireAt, lifetimeMs, jitter }: TokenTimes): number | null {
  if (expireAt === null) return null;
  const life = lifetimeMs ?? DEFAULT_LIFETIME_MS;
  const margin = Math.min(Math.max(LEAST_SOFT_MS, life * 0.2), life * 0.5);
  return expireAt - margin - jitter * life * JITTER_SHARE;
}

/** How long a token must live on where nobody says. */
export function hardMarginMs(lifetimeMs: number | null): number {
  return Math.min(LONGEST_HARD_MS, (lifetimeMs ?? DEFAULT_LIFETIME_MS) / 2);
}

/** What to do with a token that is asked for now (refresh.md, step 0). Only a `minValidForMs` that was given can be refused as too long. */
export function decideRefresh(token: TokenTimes, now: number, minValidForMs: number | null): RefreshDecision {
  const { expireAt, lifetimeMs } = token;
  if (expireAt === null) return { do: 'serve' };
  if (minValidForMs !== null && lifetimeMs !== null && minValidForMs > lifetimeMs) return { do: 'refuse' };
  if (expireAt - now < (minValidForMs ?? hardMarginMs(lifetimeMs))) return { do: 'refresh' };
  return now < softExpiry(token)! ? { do: 'serve' } : { do: 'serve_and_refresh' };
}

/** 0 to 1, always the same for a connection. */
export function jitterOf(connectionId: string): number {
  let hash = 2_166_136_261;
  for (const character of connectionId) hash = Math.imul(hash ^ character.charCodeAt(0), 16_777_619) >>> 0;
  return hash / 2 ** 32;
}
