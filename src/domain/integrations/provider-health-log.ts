import { LRUCache } from 'lru-cache';
import type { Clock } from '../../base/clock.ts';
import type { ProviderHealthLog } from '../call.ts';

const RECENT_MS = 300_000;
const CHECKED_MS = 5_000;
const MOST = 10_000;

type Calls = { since: number; calls: number; failures: number; time: number };

/** How providers did, in this process: counted over the last minutes, and what checks found out a moment ago. */
export class ProviderHealthCounts implements ProviderHealthLog {
  readonly #clock: Clock;
  readonly #calls = new LRUCache<string, Calls>({ max: MOST });
  readonly #checks = new LRUCache<string, Promise<object>>({ max: MOST, ttl: CHECKED_MS });

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  note(provider: string, well: boolean): void {
    const now = this.#clock.now();
    const known = this.#calls.get(provider);
    const counted = known && now - known.since < RECENT_MS ? known : { since: now, calls: 0, failures: 0, time: now };
    counted.calls += 1;
    if (!well) counted.failures += 1;
    counted.time = now;
    this.#calls.set(provider, counted);
  }

  recent(provider: string): Calls | null {
    const known = this.#calls.get(provider);
    return known && this.#clock.now() - known.time < RECENT_MS ? known : null;
  }

  checked<T extends object>(key: string, check: () => Promise<T>): Promise<T> {
    const known = this.#checks.get(key) as Promise<T> | undefined;
    if (known) return known;
    const checking = check();
    this.#checks.set(key, checking);
    return checking;
  }
}
