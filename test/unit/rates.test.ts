import { describe, expect, it } from 'vitest';
import { leastId, newId } from '../../src/base/id.ts';
import { Rates } from '../../src/base/rates.ts';
import { Slots } from '../../src/base/slots.ts';

describe('Rates', () => {
  it('lets a minute’s worth through at once, then as many as time brings, and says how long to wait', () => {
    let now = 0;
    const rates = new Rates({ now: () => now, monotonic: () => now });
    const taken = () => {
      let count = 0;
      while (rates.take('a', 6) === 0) count += 1;
      return count;
    };
    expect(taken()).toBe(6);
    expect(rates.take('a', 6)).toBe(10_000);
    expect(rates.take('b', 6)).toBe(0);
    now += 9_999;
    expect(taken()).toBe(0);
    now += 1;
    expect(taken()).toBe(1);
    now += 3_600_000;
    expect(taken()).toBe(6);
  });
});

describe('Slots', () => {
  it('are taken by amount, and given back once', () => {
    const slots = new Slots();
    const first = slots.take('bytes', 10, 7)!;
    expect(slots.take('bytes', 10, 4)).toBeNull();
    const second = slots.take('bytes', 10, 3)!;
    first.done();
    first.done();
    expect(slots.take('bytes', 10, 8)).toBeNull();
    second.done();
    expect(slots.take('bytes', 10, 10)).not.toBeNull();
  });
});

it('The least id of a time lies between those of the time before and its own', () => {
  const now = 1_795_176_000_000;
  for (let n = 0; n < 1000; n++) {
    expect(newId('imsg', now) >= leastId('imsg', now)).toBe(true);
    expect(newId('imsg', now - 1) < leastId('imsg', now)).toBe(true);
  }
});
