import { setImmediate as nextTurn } from 'node:timers/promises';

/** Reads the values of keys; those that do not exist are left out. */
type Read<V> = (group: string, keys: readonly string[]) => Promise<ReadonlyMap<string, V>>;

type Gathering<V> = { keys: Set<string>; values: Promise<ReadonlyMap<string, V>> };

/** Reads single values together: what is asked for of one group within one turn of the event loop is one reading. */
export class Gatherer<V> {
  readonly #read: Read<V>;
  readonly #mostKeys: number;
  readonly #gathering = new Map<string, Gathering<V>>();

  /** @param mostKeys to one reading */
  constructor(read: Read<V>, mostKeys: number) {
    this.#read = read;
    this.#mostKeys = mostKeys;
  }

  /** Undefined: there is no such value. What is answered is shared with whoever asks in the same turn. */
  async get(group: string, key: string): Promise<V | undefined> {
    const gathering = this.#gathering.get(group) ?? this.#begin(group);
    gathering.keys.add(key);
    if (gathering.keys.size === this.#mostKeys) this.#gathering.delete(group);
    return (await gathering.values).get(key);
  }

  #begin(group: string): Gathering<V> {
    const keys = new Set<string>();
    const values = nextTurn().then(() => {
      if (this.#gathering.get(group) === gathering) this.#gathering.delete(group);
      return this.#read(group, [...keys]);
    });
    const gathering = { keys, values };
    this.#gathering.set(group, gathering);
    return gathering;
  }
}
