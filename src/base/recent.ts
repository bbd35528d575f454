import { LRUCache } from 'lru-cache';

/** Keys that were added a moment ago. */
export class Recent {
  readonly #keys: LRUCache<string, true>;

  constructor({ max, ttlMs }: { max: number; ttlMs: number }) {
    this.#keys = new LRUCache({ max, ttl: ttlMs });
  }

  has(key: string): boolean {
    return this.#keys.has(key);
  }

  add(key: string): void {
    this.#keys.set(key, true);
  }
}
