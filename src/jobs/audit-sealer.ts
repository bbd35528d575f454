import { Gauge } from 'prom-client';
import { Repeating } from '../base/repeating.ts';
import { hot } from '../db/hot.ts';
import { sealEntries } from '../domain/audit/seal-entries.ts';
import type { App } from '../domain/call.ts';

type Waiting = { tenant_id: string; entries: string; oldest_s: number };

const EVERY_MS = 400;
/** After a failure. */
const PAUSE_MS = 2_000;
const TENANTS_LOOKED_AT = 500;
const TENANTS_AT_ONCE = 4;

/** Seals audit entries less than a second after they commit, on any number of replicas. */
export class AuditSealer {
  readonly #app: App;
  readonly #unsealed: Gauge;
  readonly #lag: Gauge;
  readonly #seals: Repeating;
  /** For how long the entry that waits longest to be sealed has waited, in seconds. */
  lagS = 0;
  #stopped = false;

  constructor(app: App) {
    this.#app = app;
    const pauses = { everyMs: EVERY_MS, afterFailureMs: PAUSE_MS };
    this.#seals = new Repeating({ ...pauses, log: app.log, failure: 'audit entries were not sealed' }, () =>
      this.#seal(),
    );
    const registers = [app.metrics.registry];
    this.#unsealed = new Gauge({
      ...{ name: 'latchkey_audit_unsealed_entries', registers, aggregator: 'max' },
      help: 'Audit entries of all tenants that wait to be sealed.',
    });
    this.#lag = new Gauge({
      ...{ name: 'latchkey_audit_seal_lag_seconds', registers, aggregator: 'max' },
      help: 'For how long the audit entry that waits longest to be sealed has waited.',
    });
  }

  start(): void {
    this.#seals.start();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#seals.stop();
  }

  async #seal(): Promise<void> {
    const waiting = await hot<Waiting>(this.#app.pool, 'routeUnsealedAudit', [TENANTS_LOOKED_AT]);
    this.#unsealed.set(waiting.reduce((sum, { entries }) => sum + Number(entries), 0));
    this.lagS = Math.max(0, ...waiting.map((tenant) => tenant.oldest_s));
    this.#lag.set(this.lagS);
    const tenants = waiting.values();
    let failure: unknown = null;
    const lane = async () => {
      for (const { tenant_id: tenantId } of tenants) {
        // A tenant that cannot be sealed keeps no other waiting.
        await this.#sealTenant(tenantId).catch((error: unknown) => {
          failure ??= error;
        });
      }
    };
    await Promise.all(Array.from({ length: TENANTS_AT_ONCE }, lane));
    if (failure) throw failure;
  }

  async #sealTenant(tenantId: string): Promise<void> {
    while (!this.#stopped && (await sealEntries(this.#app, tenantId)) === 'sealed');
  }
}
