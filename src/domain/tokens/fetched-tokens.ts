import { LRUCache } from 'lru-cache';
import type { Clock } from '../../base/clock.ts';
import type { FetchedToken, FetchedTokens } from '../call.ts';

/** Tokens that were fetched for a use. A fetch that fails is forgotten, so that the next use tries again. */
export class FetchedTokenCache implements FetchedTokens {
  readonly #clock: Clock;
  readonly #entries: LRUCache<string, FetchedToken>;
  readonly #fetching = new Map<string, Promise<FetchedToken>>();

  constructor(clock: Clock, maxEntries: number) {
    this.#clock = clock;
    this.#entries = new LRUCache({ max: maxEntries });
  }

  async get(key: string, minLeftMs: number, fetch: () => Promise<FetchedToken>): Promise<FetchedToken> {
    const known = this.#entries.get(key);
    const now = this.#clock.now();
    // Where no token lives so long, another would not help.
    const enough = known && (known.expireTime.getTime() - now >= minLeftMs || known.lifetimeS * 1000 < minLeftMs);
    if (known && enough && now < known.until) return known;
    const underWay = this.#fetching.get(key);
    if (underWay) return underWay;
    const fetching = fetch();
    this.#fetching.set(key, fetching);
    try {
      const token = await fetching;
      this.#entries.set(key, token);
      return token;
    } finally {
      this.#fetching.delete(key);
    }
  }

  forget(tenantId: string): void {
    const prefix = `[${JSON.stringify(tenantId)},`;
    for (const key of this.#entries.keys()) if (key.startsWith(prefix)) this.#entries.delete(key);
  }

  drop(token: string): void {
    for (const [key, known] of this.#entries.entries()) if (known.token === token) this.#entries.delete(key);
  }
}
