import type { DeliveryPurpose } from '../../model/delivery.ts';

/** Longest pause between two attempts of a webhook, whoever asks for it. */
export const LONGEST_PAUSE_MS = 3_600_000;
const JITTER = 0.2;
const [SECOND, MINUTE, HOUR] = [1_000, 60_000, 3_600_000];

/** After the first attempt, which is immediate, and each that follows (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md, "Deliverability and reliability"). */
export const EVENT_PAUSES_MS: readonly number[] = [
  ...[5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR],
];

/** What a pause depends on. */
type Paused = { purpose: DeliveryPurpose; backoffMs: number };

/**
 * How long to wait after an attempt, in ms: by the schedule of events, else a backoff that doubles with each; 20 % more or less by chance; longer where the other side
 * asks for it.
 * @param attempt the one that was made, from 1
 * @param random from 0 to below 1
 */
export function pauseAfter(attempt: number, paused: Paused, retryAfterMs: number, random: number): number {
  const { pauseMs, longestMs } = scheduled(attempt, paused);
  const jittered = pauseMs * (1 - JITTER + 2 * JITTER * random);
  return Math.round(Math.min(Math.max(jittered, retryAfterMs), longestMs));
}

function scheduled(attempt: number, { purpose, backoffMs }: Paused): { pauseMs: number; longestMs: number } {
  const longestPause = EVENT_PAUSES_MS.at(-1)!;
  if (purpose === 'event')
    return { pauseMs: EVENT_PAUSES_MS[attempt - 1] ?? longestPause, longestMs: longestPause * (1 + JITTER) };
  return { pauseMs: Math.min(backoffMs * 2 ** (attempt - 1), LONGEST_PAUSE_MS), longestMs: LONGEST_PAUSE_MS };
}
