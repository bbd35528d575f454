import { LRUCache } from 'lru-cache';
import type { Clock } from './clock.ts';

const KEYS = 50_000;

type Bucket = { left: number; at: number };

/** So many a minute, by key: token buckets that hold a minute's worth. Those that were not used for long are forgotten, and full again. */
export class Rates {
  readonly #buckets = new LRUCache<string, Bucket>({ max: KEYS });
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Takes one, and answers 0; or in how many ms there will be one. */
  take(key: string, perMinute: number): number {
    const now = this.#clock.monotonic();
    const left = this.#left(key, perMinute, now);
    if (left < 1) return waitFor(left, perMinute);
    this.#buckets.set(key, { left: left - 1, at: now });
    return 0;
  }

  /** In how many ms there is one; 0: now. */
  wait(key: string, perMinute: number): number {
    const left = this.#left(key, perMinute, this.#clock.monotonic());
    return left < 1 ? waitFor(left, perMinute) : 0;
  }

  #left(key: string, perMinute: number, now: number): number {
    const known = this.#buckets.get(key);
    return known ? Math.min(perMinute, known.left + ((now - known.at) * perMinute) / 60_000) : perMinute;
  }
}

function waitFor(left: number, perMinute: number): number {
  return Math.ceil(((1 - left) * 60_000) / perMinute);
}
