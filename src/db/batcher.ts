import { isDatabaseUnavailable } from './errors.ts';

type Waiting<T> = { item: T; weight: number; done: () => void; fail: (error: unknown) => void };

/** Bounds of a batch. */
type Limits = { items: number; weight: number };

/** Writes items in batches: while one is being written the next gathers, so that a statement serves as many callers as there are. */
export class Batcher<T> {
  readonly #write: (items: T[]) => Promise<unknown>;
  readonly #limits: Limits;
  #waiting: Waiting<T>[] = [];
  #writing = false;

  constructor(write: (items: T[]) => Promise<unknown>, limits: Limits) {
    this.#write = write;
    this.#limits = limits;
  }

  /** Resolves when the item is written. Of a batch that fails each item is written by itself, so that one fails for none but itself. */
  add(item: T, weight = 0): Promise<void> {
    return new Promise((done, fail) => {
      this.#waiting.push({ item, weight, done, fail });
      if (!this.#writing) void this.#writeAll();
    });
  }

  async #writeAll(): Promise<void> {
    this.#writing = true;
    // Those of the same turn of the event loop go together.
    await new Promise(setImmediate);
    while (this.#waiting.length > 0) {
      const batch = this.#next();
      if (!(await this.#tried(batch))) for (const one of batch) await this.#tried([one]);
    }
    this.#writing = false;
  }

  #next(): Waiting<T>[] {
    const { items, weight } = this.#limits;
    let [count, sum] = [0, 0];
    while (count < Math.min(items, this.#waiting.length) && (count === 0 || sum < weight))
      sum += this.#waiting[count++]!.weight;
    return this.#waiting.splice(0, count);
  }

  /** False: the batch failed for a reason that can be one item's. */
  async #tried(batch: Waiting<T>[]): Promise<boolean> {
    try {
      await this.#write(batch.map(({ item }) => item));
      for (const { done } of batch) done();
    } catch (error) {
      if (batch.length > 1 && !isDatabaseUnavailable(error)) return false;
      for (const { fail } of batch) fail(error);
    }
    return true;
  }
}
