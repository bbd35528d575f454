/** So many at once, by key. */
export class Slots {
  readonly #taken = new Map<string, number>();

  /** Null: all are taken. */
  take(key: string, most: number): { done(): void } | null {
    const taken = this.#taken.get(key) ?? 0;
    if (taken >= most) return null;
    this.#taken.set(key, taken + 1);
    let open = true;
    return {
      done: () => {
        if (!open) return;
        open = false;
        const left = this.#taken.get(key)! - 1;
        if (left > 0) this.#taken.set(key, left);
        else this.#taken.delete(key);
      },
    };
  }
}
