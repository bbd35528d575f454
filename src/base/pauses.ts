import { LRUCache } from 'lru-cache';

const MOST = 10_000;

/** For how long something is to be left alone, by key, as this process was told. */
export class Pauses {
  /** By key the end, in ms of the monotonic clock. */
  readonly #ends = new LRUCache<string, number>({ max: MOST });

  /** 0: it need not be left alone. */
  leftMs(key: string): number {
    return Math.max(0, (this.#ends.get(key) ?? 0) - performance.now());
  }

  pause(key: string, ms: number): void {
    this.#ends.set(key, performance.now() + ms);
  }
}
