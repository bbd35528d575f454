import type { App } from '../domain/call.ts';
import { placeEvents } from '../domain/events/place-events.ts';

/** Changes are announced; this often it is looked whether there are events that were not. */
const LOOK_MS = 200;

/** Gives events their positions as soon as they are committed, on whichever replica comes first. */
export class EventPlacer {
  readonly #app: App;
  readonly #stopping = new AbortController();
  #placing: Promise<void> = Promise.resolve();

  constructor(app: App) {
    this.#app = app;
  }

  start(): void {
    this.#placing = this.#follow();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#placing;
  }

  async #follow(): Promise<void> {
    const { changes, log, pool } = this.#app;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const waiting = changes.any('change', LOOK_MS * (0.75 + Math.random() / 2), signal);
      try {
        while ((await placeEvents(pool, false)) && !signal.aborted);
      } catch (error) {
        log.warn({ err: error }, 'events were not put in order');
      }
      await waiting;
    }
  }
}
