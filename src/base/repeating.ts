import type { Log } from './log.ts';

export type RepeatingOptions = {
  everyMs: number;
  /** After a failure; `everyMs` by default. */
  afterFailureMs?: number;
  log: Log;
  /** What the log says of a failure. */
  failure: string;
};

/**
 * Work that is done again and again, each time so long after it ended, a quarter more or less by chance: replicas that started together do not work together.
 * It does not keep the process alive.
 */
export class Repeating {
  readonly #options: RepeatingOptions;
  readonly #work: () => Promise<void>;
  #timer: NodeJS.Timeout | undefined;
  #working: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: RepeatingOptions, work: () => Promise<void>) {
    this.#options = options;
    this.#work = work;
  }

  start(): void {
    this.#schedule(this.#options.everyMs);
  }

  /** Begins no more, and waits for what is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#working;
  }

  #schedule(pauseMs: number): void {
    if (this.#stopped) return;
    const { everyMs, afterFailureMs = everyMs, log, failure } = this.#options;
    const again = async () => {
      let nextMs = everyMs;
      try {
        await this.#work();
      } catch (error) {
        log.warn({ err: error }, failure);
        nextMs = afterFailureMs;
      }
      this.#schedule(nextMs);
    };
    this.#timer = setTimeout(
      () => {
        this.#working = again();
      },
      pauseMs * (0.75 + Math.random() / 2),
    );
    this.#timer.unref();
  }
}
