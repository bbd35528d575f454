import { describe, expect, it } from 'vitest';
import { nextLimit, roomFor } from '../../src/base/concurrency-limit.ts';

const BOUNDS = { least: 16, most: 2_000 };
const CALM = { peak: 10, loopMs: 1, databaseMs: 0 };

describe('How many calls may be at work', () => {
  it('falls at once to what was there when a queue stood, and goes on falling to the least', () => {
    const queued = { peak: 300, loopMs: 2, databaseMs: 40 };
    expect(nextLimit(2_000, queued, BOUNDS)).toBe(255);
    let limit = 2_000;
    for (let moment = 0; moment < 40; moment++) limit = nextLimit(limit, queued, BOUNDS);
    expect(limit).toBe(16);
    expect(nextLimit(2_000, { peak: 300, loopMs: 40, databaseMs: 0 }, BOUNDS)).toBe(255);
  });

  it('is not moved by a burst that went by', () => {
    expect(nextLimit(2_000, { peak: 1_500, loopMs: 5, databaseMs: 5 }, BOUNDS)).toBe(2_000);
  });

  it('comes back in less than ten seconds, a moment of which is a tenth', () => {
    let limit = 16;
    let moments = 0;
    for (; limit < BOUNDS.most; moments++) limit = nextLimit(limit, CALM, BOUNDS);
    expect(moments).toBeLessThan(100);
    expect(limit).toBe(2_000);
  });

  it('stays where the least is more than the most', () => {
    expect(nextLimit(1, { peak: 1, loopMs: 50, databaseMs: 50 }, { least: 16, most: 1 })).toBe(1);
  });

  it('leaves room for tenants with less than their share, and for credentials', () => {
    const ordinary = { withinShare: false, urgent: false };
    expect(roomFor(100, ordinary)).toBe(100);
    expect(roomFor(100, { ...ordinary, urgent: true })).toBe(125);
    expect(roomFor(100, { ...ordinary, withinShare: true })).toBe(150);
    expect(roomFor(100, { withinShare: true, urgent: true })).toBe(175);
  });
});
