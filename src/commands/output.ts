/** A line of the result, on standard output. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** The whole result for programs: standard output then has nothing else. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

/** A line beside the result, for people, on standard error. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

const STEP_MS = { terminal: 100, lines: 5_000 };

/** Tells how far long work is, on standard error: one line that changes on a terminal, else now and then a line. */
export class Progress {
  readonly #terminal = process.stderr.isTTY === true;
  #toldAt = performance.now();

  /** What has begun or ended: always told. */
  say(text: string): void {
    this.clear();
    note(text);
  }

  /** How far it is: told where it has not begun, and was not told, a moment ago. */
  step(text: string): void {
    const now = performance.now();
    if (now - this.#toldAt < (this.#terminal ? STEP_MS.terminal : STEP_MS.lines)) return;
    this.#toldAt = now;
    if (this.#terminal) process.stderr.write(`\r\x1b[K${text}`);
    else note(text);
  }

  /** Wipes the line that changes; the result may follow. */
  clear(): void {
    if (this.#terminal) process.stderr.write('\r\x1b[K');
  }
}
