import { expect, it } from 'vitest';
import { createTestDatabase } from '../harness/database.ts';
import { fuzz } from '../harness/fuzzing.ts';

/** A glance; test/faults/fuzz.test.ts looks longer. */
const RUNS = 6;
const SEED = 20_260_901;

it('answers whatever is sent with an error that is meant, or none', async () => {
  const database = await createTestDatabase();
  try {
    const { calls, codes, log } = await fuzz(database, RUNS, SEED);
    expect(calls).toBeGreaterThan(500);
    expect(codes.get('OK')).toBeGreaterThan(calls / 20);
    expect(codes.get('INVALID_ARGUMENT')).toBeGreaterThan(calls / 20);
    expect(log).not.toMatch(/call failed|an HTTP request failed|unexpected error/);
  } finally {
    await database.drop();
  }
}, 120_000);
