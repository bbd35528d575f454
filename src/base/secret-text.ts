import { inspect } from 'node:util';

const MASK = '[redacted]';

/** A secret in memory. It shows itself only where `reveal` is called: not in JSON, not in a log, not in a template. */
export class SecretText {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return MASK;
  }

  toJSON(): string {
    return MASK;
  }

  [inspect.custom](): string {
    return MASK;
  }
}
