import { describe, expect, it } from 'vitest';
import { networkOf } from '../../src/base/network.ts';
import { type Balance, type Rate, SharedBucket, type Usage } from '../../src/base/shared-bucket.ts';

/** The arithmetic of `settle_calls`, on a clock that is stepped. */
class Store {
  readonly #rate: Rate;
  readonly #demands = new Map<number, { demand: number; at: number }>();
  #tokens: number;
  #at: number | null = null;

  constructor(rate: Rate) {
    this.#rate = rate;
    this.#tokens = rate.burst;
  }

  settle(replica: number, { used, demand, ms }: Usage, now: number): Balance {
    const { perSecond, burst } = this.#rate;
    const come = (perSecond * (this.#at === null ? ms : now - this.#at)) / 1000;
    this.#tokens = Math.max(-Math.max(burst, perSecond), Math.min(burst, this.#tokens + come - used));
    this.#at = now;
    this.#demands.set(replica, { demand, at: now });
    const heard = [...this.#demands.values()].filter(({ at }) => at > now - 2_500);
    return { tokens: this.#tokens, demand: heard.reduce((sum, one) => sum + one.demand, 0) };
  }
}

type World = {
  rate: Rate;
  /** Calls a second at each replica, by second. */
  offered: (replica: number, second: number) => number;
  replicas: number;
  seconds: number;
  storeDown?: (second: number) => boolean;
};

/** Steps of 1 ms. Answers what was taken, by second and replica. */
function run({ rate, offered, replicas, seconds, storeDown = () => false }: World): number[][] {
  const store = new Store(rate);
  const parts = Array.from({ length: replicas }, () => new SharedBucket(rate, () => replicas, 0));
  const owed = parts.map(() => 0);
  const taken = Array.from({ length: seconds }, () => parts.map(() => 0));
  for (let now = 0; now < seconds * 1000; now++) {
    const second = Math.floor(now / 1000);
    for (const [replica, part] of parts.entries()) {
      owed[replica]! += offered(replica, second) / 1000;
      for (; owed[replica]! >= 1; owed[replica]! -= 1) {
        if (part.ask(now) > 0) continue;
        part.take();
        taken[second]![replica]! += 1;
      }
      // Each looks at a moment of its own.
      if (now % 100 !== (replica * 37) % 100 || !part.isDue(now)) continue;
      const usage = part.report(now);
      if (storeDown(second)) part.giveBack(usage);
      else part.settle(store.settle(replica, usage, now), usage, now);
    }
  }
  return taken;
}

const total = (taken: number[][]) => taken.flat().reduce((sum, one) => sum + one, 0);
const within = (count: number, wanted: number, part = 0.05) => {
  expect(count).toBeGreaterThanOrEqual(wanted * (1 - part));
  expect(count).toBeLessThanOrEqual(wanted * (1 + part));
};

describe('Replicas that share a token bucket', () => {
  const rate = { perSecond: 100, burst: 100 };

  it.each([
    { name: 'evenly', weights: [1, 1, 1] },
    { name: 'on one alone', weights: [1, 0, 0] },
    { name: 'mostly on one', weights: [0.9, 0.09, 0.01] },
  ])('take together what it has, where three times that is asked for $name', ({ weights }) => {
    const sum = weights.reduce((a, b) => a + b);
    const taken = run({ rate, replicas: 3, seconds: 10, offered: (replica) => (300 * weights[replica]!) / sum });
    within(total(taken), 10 * rate.perSecond + rate.burst);
  });

  it.each([
    { perSecond: 10, burst: 10 },
    { perSecond: 50, burst: 5 },
    { perSecond: 1_000, burst: 100 },
    { perSecond: 20, burst: 200 },
  ])('do so at $perSecond a second, $burst at once', (own) => {
    const taken = run({ rate: own, replicas: 3, seconds: 20, offered: () => own.perSecond });
    within(total(taken), 20 * own.perSecond + own.burst);
  });

  it('refuse nothing below it', () => {
    const taken = run({ rate, replicas: 3, seconds: 10, offered: (replica) => [60, 20, 10][replica]! });
    expect(total(taken)).toBe(900);
  });

  it('hand the part of one that is gone to the others within seconds', () => {
    const gone = (replica: number, second: number) => (replica === 0 && second >= 5 ? 0 : 100);
    const taken = run({ rate, replicas: 3, seconds: 15, offered: gone });
    within(total(taken.slice(8)), 7 * rate.perSecond);
  });

  it('follow where the calls go', () => {
    const moving = (replica: number, second: number) => (Math.floor(second / 5) % 3 === replica ? 300 : 0);
    const taken = run({ rate, replicas: 3, seconds: 30, offered: moving });
    within(total(taken), 30 * rate.perSecond + rate.burst, 0.1);
  });

  it('stay within it while the store is down, and pay back what they took too much', () => {
    const storeDown = (second: number) => second >= 5 && second < 15;
    const taken = run({ rate, replicas: 3, seconds: 25, offered: () => 100, storeDown });
    within(total(taken.slice(7, 15)), 8 * rate.perSecond);
    within(total(taken), 25 * rate.perSecond + rate.burst);
  });

  it('say when there is one again', () => {
    const part = new SharedBucket({ perSecond: 10, burst: 1 }, () => 1, 0);
    expect(part.ask(0)).toBe(0);
    part.take();
    const waitMs = part.ask(0);
    expect(waitMs).toBe(100);
    expect(part.ask(waitMs - 1)).toBeGreaterThan(0);
    expect(part.ask(waitMs)).toBe(0);
  });
});

describe('The network of an address', () => {
  it.each([
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '::ffff:192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:DB8:0001::6', '2001:db8:1:0'],
    ['fe80::1%eth0', 'fe80:0:0:0'],
    ['::1', '0:0:0:0'],
    ['', ''],
  ])('%s is in %s', (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});
