import { Slots } from './slots.ts';

/** Of the places that are left over, who holds this many times as many gets no more. */
const SHARE = 3;

/**
 * So many places at once, by key, each with a fair share: whoever is alone gets three quarters of them, and several that want all leave some to each other and to who
 * comes next. Who has none gets one as long as there is any.
 */
export class FairPlaces {
  readonly #most: number;
  readonly #slots = new Slots();
  #taken = 0;

  constructor(most: number) {
    this.#most = most;
  }

  /** How many are left over. */
  get free(): number {
    return this.#most - this.#taken;
  }

  /** Null: there is none left, or none for this key. */
  take(key: string): { done(): void } | null {
    if (this.free <= 0) return null;
    const slot = this.#slots.take(key, Math.max(1, SHARE * (this.free - 1)));
    if (!slot) return null;
    this.#taken += 1;
    let open = true;
    return {
      done: () => {
        if (open) this.#taken -= 1;
        open = false;
        slot.done();
      },
    };
  }
}
