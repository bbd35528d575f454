import type { ReadyCredential, Refreshes, RefreshOutcome } from '../call.ts';

/** Refreshes under way in this process: one for each connection and generation, whoever asks (refresh.md, step 1). They go on when their callers leave. */
export class RefreshesUnderWay implements Refreshes {
  readonly #running = new Map<string, Promise<RefreshOutcome | null>>();
  readonly #mostOfOne: number;
  readonly #all: Permits;
  readonly #byClient = new Map<string, Permits>();
  readonly #held = new Set<Promise<unknown>>();

  /** @param most provider calls at once; a quarter of them to one client at a token endpoint, so that one that hangs leaves room for the others */
  constructor(most: number) {
    this.#all = new Permits(most);
    this.#mostOfOne = Math.ceil(most / 4);
  }

  share(
    { tenantId, connectionId, generation }: ReadyCredential,
    run: () => Promise<RefreshOutcome | null>,
  ): Promise<RefreshOutcome | null> {
    const key = `${tenantId} ${connectionId} ${generation}`;
    const known = this.#running.get(key);
    if (known) return known;
    const running = run().finally(() => this.#running.delete(key));
    this.#running.set(key, running);
    return running;
  }

  async withPermit<T>(client: string, work: () => Promise<T>): Promise<T> {
    const own = this.#byClient.get(client) ?? new Permits(this.#mostOfOne);
    this.#byClient.set(client, own);
    try {
      return await own.with(() => this.#all.with(work));
    } finally {
      if (own.idle) this.#byClient.delete(client);
    }
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

/** So many at once; the others wait in line. */
class Permits {
  #free: number;
  readonly #most: number;
  readonly #waiting: (() => void)[] = [];

  constructor(most: number) {
    this.#most = most;
    this.#free = most;
  }

  get idle(): boolean {
    return this.#free === this.#most;
  }

  async with<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((done) => this.#waiting.push(done));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}
