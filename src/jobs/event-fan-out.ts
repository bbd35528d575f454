import { setTimeout as pause } from 'node:timers/promises';
import { Repeating } from '../base/repeating.ts';
import { hot } from '../db/hot.ts';
import type { App } from '../domain/call.ts';
import { disableFailing } from '../domain/endpoints/disable-endpoint.ts';
import { fanOutEvents } from '../domain/endpoints/fan-out-events.ts';

/** Events are announced; this often it is looked whether some were missed, or left by a replica that died. */
const LOOK_MS = 1_000;
/** News come one by one: those of a moment are taken together. */
const GATHER_MS = 20;
const TENANTS_AT_ONCE = 4;
const LEASE_MS = 15_000;
const FAILING_MS = 60_000;
const FAILING_AT_ONCE = 100;
const DAY_MS = 86_400_000;

/** Turns events into deliveries to endpoints, each tenant's by one replica at a time; and disables endpoints that have failed for days. */
export class EventFanOut {
  readonly #app: App;
  readonly #stopping = new AbortController();
  #following: Promise<void> = Promise.resolve();
  readonly #looks: Repeating;

  constructor(app: App) {
    this.#app = app;
    const options = { everyMs: FAILING_MS, log: app.log, failure: 'endpoints that fail were not disabled' };
    this.#looks = new Repeating(options, () => this.disableFailing());
  }

  start(): void {
    this.#following = this.#follow();
    this.#looks.start();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#looks.stop();
    await this.#following;
  }

  async disableFailing(): Promise<void> {
    const ms = this.#app.config.endpointFailingDays * DAY_MS;
    const failing = await hot<{ tenant_id: string; id: string }>(this.#app.pool, 'routeFailingEndpoints', [
      ...[ms, FAILING_AT_ONCE],
    ]);
    for (const { tenant_id, id } of failing) await disableFailing(this.#app, tenant_id, id);
  }

  async #follow(): Promise<void> {
    const { changes, log } = this.#app;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      let waiting = changes.any('event', LOOK_MS, signal);
      try {
        if (await this.#fanOut()) continue;
      } catch (error) {
        log.warn({ err: error }, 'events were not passed on to endpoints; they wait');
        waiting = pause(LOOK_MS, undefined, { signal }).catch(() => {});
      }
      await waiting;
      await pause(GATHER_MS);
    }
  }

  /** Answers whether there may be more. */
  async #fanOut(): Promise<boolean> {
    const claimed = await hot<{ tenant_id: string; epoch: string }>(this.#app.pool, 'claimFanOuts', [
      ...[TENANTS_AT_ONCE, LEASE_MS],
    ]);
    await Promise.all(claimed.map(({ tenant_id, epoch }) => this.#fanOutOf(tenant_id, Number(epoch))));
    return claimed.length > 0;
  }

  /** What fails keeps nobody else waiting: its lease ends. */
  async #fanOutOf(tenantId: string, epoch: number): Promise<void> {
    try {
      await fanOutEvents(this.#app, tenantId, epoch);
    } catch (error) {
      this.#app.log.warn({ err: error, tenant: tenantId }, 'events were not passed on to endpoints; they wait');
    }
  }
}
