import { LatchkeyError } from '../base/error.ts';
import { isPassing } from '../base/reasons.ts';
import { Repeating } from '../base/repeating.ts';
import { hot } from '../db/hot.ts';
import type { App } from '../domain/call.ts';
import { loadCredential } from '../domain/connections/load-credential.ts';
import { refreshIfDue } from '../domain/tokens/refresh.ts';
import { isRefreshable } from '../domain/tokens/refuse-unless-usable.ts';

type Due = { tenant_id: string; connection_id: string; unresolved: boolean; lag_ms: number };

/** More than a page is looked at, and a page of it taken by chance: two replicas seldom take the same. */
const LOOKED_AT = 2_000;
const PAGE = 100;
const MOST_AT_ONCE = 2_000;
/** What cannot be renewed for now is not looked at again for so long. */
const POSTPONED_MS = 60_000;

/**
 * Renews tokens before anybody has to wait for them, on any number of replicas: first those whose attempt a dead replica left unresolved, then those of
 * connections that were used within a day, then those whose refresh token would die unused (refresh.md, step 9).
 */
export class RefreshSweeper {
  readonly #app: App;
  readonly #sweeps: Repeating;
  #stopped = false;
  #wake = (): void => {};
  readonly #renewing = new Map<string, Promise<void>>();

  constructor(app: App) {
    this.#app = app;
    const { log, config } = app;
    const options = { everyMs: config.refresh.sweepMs, log, failure: 'due refreshes were not looked for' };
    this.#sweeps = new Repeating(options, () => this.#sweep());
  }

  start(): void {
    this.#sweeps.start();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#sweeps.stop();
    await Promise.all(this.#renewing.values());
  }

  /** On while there is a backlog; a provider that hangs keeps neither the next sweep waiting nor other connections. */
  async #sweep(): Promise<void> {
    const [oldest] = await hot<{ seconds: number }>(this.#app.pool, 'oldestAttempt', []);
    this.#app.metrics.leaseAge.set(oldest!.seconds);
    for (;;) {
      const due = await hot<Due>(this.#app.pool, 'routeDueRefreshes', [LOOKED_AT]);
      this.#app.metrics.sweepLag.set(Math.max(0, ...due.map((row) => row.lag_ms)) / 1000);
      for (const row of sample(due, PAGE)) this.#begin(row);
      if (this.#stopped || due.length < PAGE || this.#renewing.size > MOST_AT_ONCE) return;
      await this.#room();
    }
  }

  #begin(row: Due): void {
    const key = `${row.tenant_id} ${row.connection_id}`;
    if (this.#renewing.has(key)) return;
    const renewing = this.#renew(row)
      .catch((error: unknown) => this.#app.log.warn({ err: error }, 'a due refresh was not made'))
      .finally(() => {
        this.#renewing.delete(key);
        if (this.#renewing.size <= PAGE / 2) this.#wake();
      });
    this.#renewing.set(key, renewing);
  }

  /** Resolves when half a page is done, or after a period: looking at what is due costs the database more than a refresh. */
  #room(): Promise<void> {
    return new Promise((done) => {
      const timer = setTimeout(done, this.#app.config.refresh.sweepMs);
      this.#wake = () => {
        clearTimeout(timer);
        done();
      };
      if (this.#renewing.size <= PAGE / 2) this.#wake();
    });
  }

  async #renew({ tenant_id: tenantId, connection_id: connectionId }: Due): Promise<void> {
    const app = this.#app;
    const credential = await loadCredential(app, tenantId, connectionId);
    if (!credential) return;
    const postpone = () => hot(app.pool, 'postponeRefresh', [tenantId, connectionId, POSTPONED_MS]);
    if (!isRefreshable(credential)) {
      await postpone();
      return;
    }
    const outcome = await refreshIfDue(app, credential);
    if (outcome?.kind === 'failed' && !hasPause(outcome.error)) await postpone();
  }
}

/** A provider's failure is written down with a pause; a set-up that is wrong has none. */
function hasPause(error: Error): boolean {
  return error instanceof LatchkeyError && isPassing(error.reason);
}

/** Some of the rows, by chance; the unresolved ones first. */
function sample(due: Due[], size: number): Due[] {
  const [first, rest] = [due.filter((row) => row.unresolved), due.filter((row) => !row.unresolved)];
  const shuffled = rest.map((row) => ({ row, at: Math.random() })).sort((a, b) => a.at - b.at);
  return [...first, ...shuffled.map(({ row }) => row)].slice(0, size);
}
