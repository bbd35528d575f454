import { LRUCache } from 'lru-cache';
import type { Metrics } from './metrics.ts';

type Options = {
  /** For metrics. */
  name: string;
  /** 0: keep nothing. */
  maxEntries: number;
  metrics: Metrics;
  /** Whether entries may be believed now. */
  trusted: () => boolean;
};

/**
 * Values of the database, kept in memory until someone says that they changed. A value whose key is dropped while it is being loaded is answered
 * once and not kept, so that no change is missed. Loads of one key are shared.
 */
export class ReplicaCache<V extends object> {
  readonly #entries: LRUCache<string, V> | null;
  readonly #loading = new Map<string, Promise<V | null>>();
  readonly #trusted: () => boolean;
  readonly #hits: { inc(): void };
  readonly #misses: { inc(): void };

  constructor({ name, maxEntries, metrics, trusted }: Options) {
    this.#entries = maxEntries > 0 ? new LRUCache({ max: maxEntries }) : null;
    this.#trusted = trusted;
    this.#hits = metrics.cacheHits.labels({ cache: name, result: 'hit' });
    this.#misses = metrics.cacheHits.labels({ cache: name, result: 'miss' });
  }

  get size(): number {
    return this.#entries?.size ?? 0;
  }

  /** The value at hand, if it may be believed. */
  peek(key: string): V | undefined {
    const value = this.#trusted() ? this.#entries?.get(key) : undefined;
    if (value) this.#hits.inc();
    return value;
  }

  /** The value at hand, else what `load` answers; null is not kept. */
  async get(key: string, load: () => Promise<V | null>): Promise<V | null> {
    const known = this.peek(key);
    if (known) return known;
    this.#misses.inc();
    if (!this.#entries) return load();
    const underWay = this.#loading.get(key);
    if (underWay) return underWay;
    const loading = load();
    this.#loading.set(key, loading);
    try {
      const value = await loading;
      if (value && this.#loading.get(key) === loading) this.#entries.set(key, value);
      return value;
    } finally {
      if (this.#loading.get(key) === loading) this.#loading.delete(key);
    }
  }

  drop(key: string): void {
    this.#entries?.delete(key);
    this.#loading.delete(key);
  }

  dropWhere(matches: (value: V) => boolean): void {
    for (const [key, value] of this.#entries?.entries() ?? []) if (matches(value)) this.#entries?.delete(key);
    this.#loading.clear();
  }

  clear(): void {
    this.#entries?.clear();
    this.#loading.clear();
  }
}
