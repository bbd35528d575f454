import { expect, it } from 'vitest';
import { createTestDatabase } from '../harness/database.ts';
import { fuzz } from '../harness/fuzzing.ts';

/** Calls of each method over each transport: about three minutes. A million calls in all are RUNS=6000. */
const RUNS = Number(process.env.RUNS ?? 100);
const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31);
/** faults.md, the row "Fuzz": a bound of a fault, not of speed. */
const STALL_MS = 200;

it('no message, in JSON or protobuf, spoilt or not, crashes the server, makes it answer INTERNAL, or stalls its event loop', async () => {
  const database = await createTestDatabase();
  try {
    const { calls, codes, longestTurn, log } = await fuzz(database, RUNS, SEED);
    console.log(`SEED=${SEED}: ${calls} calls`, Object.fromEntries(codes), longestTurn);
    expect(calls).toBeGreaterThan(RUNS * 100);
    expect(log).not.toMatch(/call failed|an HTTP request failed|unexpected error/);
    // By the clock, too, a busy machine makes turns long; what one took of the processor is the server's own doing.
    expect(Math.min(longestTurn.delayMs, longestTurn.busyMs)).toBeLessThanOrEqual(STALL_MS);
  } finally {
    await database.drop();
  }
});
