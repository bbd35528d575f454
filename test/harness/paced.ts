import { setTimeout as pause } from 'node:timers/promises';
import { asFailure } from './errors.ts';

const STEP_MS = 10;

/** What became of calls: how many were answered, and the others by reason. Each reached a server between when it was made and when it was over, in ms from the start. */
export type Outcome = { answered: number; refused: Record<string, number>; madeAt: number[]; overAt: number[] };

/** Makes so many calls a second, for a time, whether they are answered or not: the n-th by `call(n)`. */
export async function paced(call: (n: number) => Promise<unknown>, perSecond: number, ms: number): Promise<Outcome> {
  const outcome: Outcome = { answered: 0, refused: {}, madeAt: [], overAt: [] };
  const underWay: Promise<void>[] = [];
  const start = performance.now();
  for (let n = 0, now = start; now - start < ms; now = performance.now()) {
    for (; n < ((now - start) * perSecond) / 1000; n++) {
      outcome.madeAt.push(now - start);
      const made = call(n).then(
        () => {
          outcome.answered += 1;
        },
        (error: unknown) => {
          const { reason } = asFailure(error);
          outcome.refused[reason] = (outcome.refused[reason] ?? 0) + 1;
        },
      );
      underWay.push(made.then(() => void outcome.overAt.push(performance.now() - start)));
    }
    await pause(STEP_MS);
  }
  await Promise.all(underWay);
  return outcome;
}

type Rate = { perSecond: number; burst: number };

/** How many of these calls one token bucket takes that is full at the start: at the least, and at the most. */
export function takenBy(rate: Rate, { madeAt, overAt }: Outcome): { least: number; most: number } {
  const both = [taken(rate, madeAt), taken(rate, overAt)];
  return { least: Math.min(...both), most: Math.max(...both) };
}

function taken({ perSecond, burst }: Rate, times: readonly number[]): number {
  let [tokens, at, count] = [burst, 0, 0];
  for (const time of times) {
    tokens = Math.min(burst, tokens + ((time - at) * perSecond) / 1000);
    at = time;
    if (tokens < 1) continue;
    tokens -= 1;
    count += 1;
  }
  return count;
}
