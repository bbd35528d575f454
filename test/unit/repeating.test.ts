import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Repeating } from '../../src/base/repeating.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function repeating(work: () => Promise<void>) {
  const lines: string[] = [];
  const log = pino({ base: null }, { write: (line: string) => void lines.push(line) });
  const options = { everyMs: 1_000, afterFailureMs: 10_000, log, failure: 'it was not done' };
  return { lines, work: new Repeating(options, work) };
}

describe('Repeating work', () => {
  it('is done again after it ended, never twice at once, and is waited for when it is stopped', async () => {
    const ends: (() => void)[] = [];
    const { work } = repeating(() => new Promise((done) => void ends.push(done)));
    work.start();
    await vi.advanceTimersByTimeAsync(749);
    expect(ends).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(ends).toHaveLength(1);
    ends[0]!();
    await vi.advanceTimersByTimeAsync(1_251);
    expect(ends).toHaveLength(2);
    let stopped = false;
    const stopping = work.stop().then(() => {
      stopped = true;
    });
    await vi.advanceTimersByTimeAsync(10_000);
    expect(stopped).toBe(false);
    ends[1]!();
    await stopping;
    await vi.advanceTimersByTimeAsync(10_000);
    expect(ends).toHaveLength(2);
  });

  it('rests after a failure, which is logged', async () => {
    let times = 0;
    const { work, lines } = repeating(async () => {
      times += 1;
      throw new Error('no');
    });
    work.start();
    await vi.advanceTimersByTimeAsync(1_251);
    expect(times).toBe(1);
    await vi.advanceTimersByTimeAsync(7_499 - 1_251);
    expect(times).toBe(1);
    await vi.advanceTimersByTimeAsync(7_000);
    expect(times).toBe(2);
    expect(lines.map((line) => JSON.parse(line).msg)).toEqual(['it was not done', 'it was not done']);
    await work.stop();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(times).toBe(2);
  });
});
