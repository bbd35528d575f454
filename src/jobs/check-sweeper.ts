import { hot } from '../db/hot.ts';
import type { App } from '../domain/call.ts';
import { runDueCheck } from '../domain/checks/run-due-check.ts';

type Due = { tenant_id: string; connection_id: string };

const SWEEP_MS = 2_000;
/** Checks under way in one process. */
const MOST_AT_ONCE = 50;

/** Checks connections whose schedules say so, on any number of replicas, each of which claims what it checks. */
export class CheckSweeper {
  readonly #app: App;
  readonly #stopping = new AbortController();
  readonly #checking = new Map<string, Promise<void>>();
  #timer: NodeJS.Timeout | undefined;
  #sweeping: Promise<void> = Promise.resolve();

  constructor(app: App) {
    this.#app = app;
  }

  start(): void {
    if (this.#stopping.signal.aborted) return;
    // Replicas that started together do not sweep together.
    this.#timer = setTimeout(
      () => {
        this.#sweeping = this.#sweep()
          .catch((error: unknown) => this.#app.log.warn({ err: error }, 'due checks were not looked for'))
          .then(() => this.start());
      },
      SWEEP_MS * (0.75 + Math.random() / 2),
    );
    this.#timer.unref();
  }

  /** Gives up the checks that are under way: another replica makes them. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    clearTimeout(this.#timer);
    await this.#sweeping;
    await Promise.all(this.#checking.values());
  }

  async #sweep(): Promise<void> {
    const room = MOST_AT_ONCE - this.#checking.size;
    if (room === 0) return;
    for (const row of await hot<Due>(this.#app.pool, 'routeDueChecks', [room])) this.#begin(row);
  }

  #begin({ tenant_id: tenantId, connection_id: connectionId }: Due): void {
    const key = `${tenantId} ${connectionId}`;
    if (this.#checking.has(key)) return;
    const { signal } = this.#stopping;
    const checking = runDueCheck(this.#app, { tenantId, connectionId }, signal)
      .catch((error: unknown) => {
        if (!signal.aborted) this.#app.log.warn({ err: error, connectionId }, 'a due check was not made');
      })
      .finally(() => this.#checking.delete(key));
    this.#checking.set(key, checking);
  }
}
