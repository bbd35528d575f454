import { FairPlaces } from '../base/fair-places.ts';
import { Repeating } from '../base/repeating.ts';
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
  readonly #places = new FairPlaces(MOST_AT_ONCE);
  readonly #sweeps: Repeating;

  constructor(app: App) {
    this.#app = app;
    const options = { everyMs: SWEEP_MS, log: app.log, failure: 'due checks were not looked for' };
    this.#sweeps = new Repeating(options, () => this.#sweep());
  }

  start(): void {
    this.#sweeps.start();
  }

  /** Gives up the checks that are under way: another replica makes them. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#sweeps.stop();
    await Promise.all(this.#checking.values());
  }

  /** Looks again without the tenants that have their share, until nothing is due or there is no place: what one tenant has due hides nobody else's. */
  async #sweep(): Promise<void> {
    const full = new Set<string>();
    while (this.#places.free > 0) {
      const due = await hot<Due>(this.#app.pool, 'routeDueChecks', [MOST_AT_ONCE, [...full]]);
      const without = full.size;
      for (const row of due) if (!this.#begin(row)) full.add(row.tenant_id);
      if (due.length < MOST_AT_ONCE || full.size === without) return;
    }
  }

  /** Answers false where the tenant has its share of the places. */
  #begin({ tenant_id: tenantId, connection_id: connectionId }: Due): boolean {
    const key = `${tenantId} ${connectionId}`;
    if (this.#checking.has(key)) return true;
    const place = this.#places.take(tenantId);
    if (!place) return false;
    const { signal } = this.#stopping;
    const checking = runDueCheck(this.#app, { tenantId, connectionId }, signal)
      .catch((error: unknown) => {
        if (!signal.aborted) this.#app.log.warn({ err: error, connectionId }, 'a due check was not made');
      })
      .finally(() => {
        place.done();
        this.#checking.delete(key);
      });
    this.#checking.set(key, checking);
    return true;
  }
}
