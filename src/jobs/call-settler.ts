import { LRUCache } from 'lru-cache';
import { Gauge } from 'prom-client';
import { type Balance, type Rate, SharedBucket, type Usage } from '../base/shared-bucket.ts';
import { hot } from '../db/hot.ts';
import { REPLICA_GONE_MS } from '../db/replicas.ts';
import type { App, CallLimits, CallRates, Principal, RefusedCall } from '../domain/call.ts';

type Bucket = { tenantId: string; subject: string; part: SharedBucket };
type Part = { tenant: Bucket | null; caller: Bucket | null };
type Settled = Balance & { tenant_id: string; subject: string };

const EVERY_MS = 100;
const COUNT_MS = 5_000;
const WARN_MS = 10_000;
/** More than there are callers remembered. */
const BUCKETS = 200_000;
/** Buckets to a statement. */
const BATCH = 500;

/**
 * How many calls tenants and callers make, on all replicas together. A call is decided by this replica's part; parts that were used are settled some times a second, in one statement for all.
 * While the database does not answer, a part is one of as many as there are replicas.
 */
export class CallSettler implements CallLimits {
  readonly #app: App;
  /** By tenant and subject: '' is the tenant itself. */
  readonly #buckets = new LRUCache<string, Bucket>({ max: BUCKETS });
  readonly #active = new Set<Bucket>();
  /** Of callers who are remembered. */
  readonly #parts = new WeakMap<Principal, Part>();
  #replicas = 1;
  #settling: Promise<void> = Promise.resolve();
  #timers: NodeJS.Timeout[] = [];
  #warnedAt = Number.NEGATIVE_INFINITY;

  constructor(app: App) {
    this.#app = app;
    const replicas = () => this.#replicas;
    new Gauge({
      ...{ name: 'latchkey_replicas', help: 'Replicas that are alive, as this one sees it.', aggregator: 'max' },
      registers: [app.metrics.registry],
      collect() {
        this.set(replicas());
      },
    });
  }

  async start(): Promise<void> {
    await this.#countReplicas();
    const every = (ms: number, work: () => Promise<void>) => this.#timers.push(setInterval(work, ms).unref());
    every(COUNT_MS, () => this.#countReplicas());
    let settling = false;
    every(EVERY_MS, async () => {
      if (settling || this.#active.size === 0) return;
      settling = true;
      this.#settling = this.#settle((bucket, now) => bucket.part.isDue(now));
      await this.#settling;
      settling = false;
    });
  }

  /** Settles what is left. */
  async stop(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer);
    await this.#settling;
    await this.#settle(() => true);
  }

  take(principal: Principal, rates: CallRates): RefusedCall | null {
    const now = this.#app.clock.monotonic();
    const { tenant, caller } = this.#partOf(principal, rates, now);
    const refusedCaller = caller && this.#ask(caller, 'caller', now);
    if (refusedCaller) return refusedCaller;
    const refusedTenant = tenant && this.#ask(tenant, 'tenant', now);
    if (refusedTenant) return refusedTenant;
    caller?.part.take();
    tenant?.part.take();
    return null;
  }

  #ask(bucket: Bucket, limit: RefusedCall['limit'], now: number): RefusedCall | null {
    this.#active.add(bucket);
    const waitMs = bucket.part.ask(now);
    return waitMs === 0 ? null : { limit, rate: bucket.part.rate, waitMs };
  }

  #partOf(principal: Principal, rates: CallRates, now: number): Part {
    const known = this.#parts.get(principal);
    if (known) return known;
    const { tenantId, kind, id } = principal;
    const part = {
      tenant: rates.tenant && this.#bucket(tenantId, '', rates.tenant, now),
      caller: rates.caller && this.#bucket(tenantId, `${kind} ${id}`, rates.caller, now),
    };
    this.#parts.set(principal, part);
    return part;
  }

  #bucket(tenantId: string, subject: string, rate: Rate, now: number): Bucket {
    const key = `${tenantId} ${subject}`;
    const known = this.#buckets.get(key);
    if (known) {
      known.part.rate = rate;
      return known;
    }
    const bucket = { tenantId, subject, part: new SharedBucket(rate, () => this.#replicas, now) };
    this.#buckets.set(key, bucket);
    return bucket;
  }

  async #settle(which: (bucket: Bucket, now: number) => boolean): Promise<void> {
    const now = this.#app.clock.monotonic();
    const due = [...this.#active].filter((bucket) => which(bucket, now));
    for (const bucket of this.#active) if (bucket.part.isIdle(now)) this.#active.delete(bucket);
    for (let at = 0; at < due.length; at += BATCH) await this.#settleBatch(due.slice(at, at + BATCH));
  }

  async #settleBatch(buckets: readonly Bucket[]): Promise<void> {
    const { sidePool, replicaId, clock } = this.#app;
    const usages = new Map(buckets.map((bucket) => [bucket, bucket.part.report(clock.monotonic())]));
    try {
      const rows = await hot<Settled>(sidePool, 'settleCalls', [replicaId, JSON.stringify(callsOf(usages))]);
      const settled = new Map(rows.map((row) => [`${row.tenant_id} ${row.subject}`, row]));
      for (const [bucket, usage] of usages) {
        const balance = settled.get(`${bucket.tenantId} ${bucket.subject}`);
        if (balance) bucket.part.settle(balance, usage, clock.monotonic());
      }
    } catch (error) {
      for (const [bucket, usage] of usages) bucket.part.giveBack(usage);
      this.#warn(error);
    }
  }

  async #countReplicas(): Promise<void> {
    try {
      const [row] = await hot<{ count: number }>(this.#app.sidePool, 'countReplicas', [REPLICA_GONE_MS]);
      this.#replicas = Math.max(1, row!.count);
    } catch (error) {
      this.#warn(error);
    }
  }

  #warn(error: unknown): void {
    const now = this.#app.clock.monotonic();
    if (now - this.#warnedAt < WARN_MS) return;
    this.#warnedAt = now;
    this.#app.log.warn({ err: error }, 'calls are limited by what this replica knows alone');
  }
}

function callsOf(usages: ReadonlyMap<Bucket, Usage>) {
  const calls: Record<string, Record<string, object>> = {};
  for (const [{ tenantId, subject, part }, usage] of usages) {
    calls[tenantId] ??= {};
    calls[tenantId][subject] = { rate: part.rate.perSecond, burst: part.rate.burst, ...usage };
  }
  return calls;
}
