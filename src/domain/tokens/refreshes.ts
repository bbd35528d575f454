import type { ReadyCredential, Refreshes, RefreshOutcome } from '../call.ts';

/** Refreshes under way in this process: one for each connection and generation, whoever asks (refresh.md, step 1). They go on when their callers leave. */
export class RefreshesUnderWay implements Refreshes {
  readonly #running = new Map<string, Promise<RefreshOutcome>>();
  readonly #most: number;
  #permits = 0;
  readonly #held = new Set<Promise<unknown>>();
  readonly #waiting: (() => void)[] = [];

  /** @param most provider calls at once */
  constructor(most: number) {
    this.#most = most;
  }

  get underWay(): number {
    return this.#running.size;
  }

  share(
    { tenantId, connectionId, generation }: ReadyCredential,
    run: () => Promise<RefreshOutcome>,
  ): Promise<RefreshOutcome> {
    const key = `${tenantId} ${connectionId} ${generation}`;
    const known = this.#running.get(key);
    if (known) return known;
    const running = run().finally(() => this.#running.delete(key));
    this.#running.set(key, running);
    return running;
  }

  /** Runs with one of the permits. */
  async withPermit<T>(work: () => Promise<T>): Promise<T> {
    if (this.#permits >= this.#most) await new Promise<void>((done) => this.#waiting.push(done));
    else this.#permits += 1;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#permits -= 1;
    }
  }

  /** Grants that are being obtained or stored. */
  get held(): number {
    return this.#held.size;
  }

  hold<T>(obtaining: () => Promise<T>): Promise<T> {
    const held = obtaining().finally(() => this.#held.delete(held));
    this.#held.add(held);
    return held;
  }

  /** Resolves when none is under way: at shutdown none is cut off between the provider's answer and the database. */
  async idle(): Promise<void> {
    while (this.#running.size + this.#held.size > 0)
      await Promise.allSettled([...this.#running.values(), ...this.#held]);
  }
}
