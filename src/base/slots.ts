/** So much at once, by key. */
export class Slots {
  readonly #taken = new Map<string, number>();

  /** Null: it would be more than that. */
  take(key: string, most: number, amount = 1): { done(): void } | null {
    const taken = this.#taken.get(key) ?? 0;
    if (taken + amount > most) return null;
    this.#taken.set(key, taken + amount);
    let open = true;
    return {
      done: () => {
        if (!open) return;
        open = false;
        const left = this.#taken.get(key)! - amount;
        if (left > 0) this.#taken.set(key, left);
        else this.#taken.delete(key);
      },
    };
  }
}
