/** Longest pause between two attempts, whoever asks for it. */
export const LONGEST_PAUSE_MS = 3_600_000;
const JITTER = 0.2;

/**
 * How long to wait after an attempt, in ms: the backoff doubles with each, 20 % more or less by chance; longer where the other side asks for it.
 * @param attempt the one that was made, from 1
 * @param random from 0 to below 1
 */
export function pauseAfter(attempt: number, backoffMs: number, retryAfterMs: number, random: number): number {
  const doubled = Math.min(backoffMs * 2 ** (attempt - 1), LONGEST_PAUSE_MS);
  const jittered = doubled * (1 - JITTER + 2 * JITTER * random);
  return Math.round(Math.min(Math.max(jittered, retryAfterMs), LONGEST_PAUSE_MS));
}
