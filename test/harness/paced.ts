import { setTimeout as pause } from 'node:timers/promises';
import { asFailure } from './errors.ts';

const STEP_MS = 10;

/** What became of calls: how many were answered, and the others by reason. */
export type Outcome = { answered: number; refused: Record<string, number>; ms: number };

/** Makes so many calls a second, for a time, whether they are answered or not: the n-th by `call(n)`. */
export async function paced(call: (n: number) => Promise<unknown>, perSecond: number, ms: number): Promise<Outcome> {
  const outcome: Outcome = { answered: 0, refused: {}, ms: 0 };
  const underWay: Promise<void>[] = [];
  const start = performance.now();
  for (let n = 0, now = start; now - start < ms; now = performance.now()) {
    for (; n < ((now - start) * perSecond) / 1000; n++) {
      const made = call(n).then(
        () => {
          outcome.answered += 1;
        },
        (error: unknown) => {
          const { reason } = asFailure(error);
          outcome.refused[reason] = (outcome.refused[reason] ?? 0) + 1;
        },
      );
      underWay.push(made);
    }
    await pause(STEP_MS);
  }
  outcome.ms = performance.now() - start;
  await Promise.all(underWay);
  return outcome;
}
