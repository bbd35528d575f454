import { Counter, Gauge } from 'prom-client';
import { nextLimit, roomFor } from '../base/concurrency-limit.ts';
import { LatchkeyError } from '../base/error.ts';
import type { App } from '../domain/call.ts';

/** A call that is at work. */
export type Load = { readonly startedAt: number };

const SAMPLE_MS = 20;
const SAMPLES = 5;
/**
 * Whoever takes longer than this, and than some waits for a connection, waits for somebody else: our own part of a call is shorter, as long as we do not take too many.
 */
const WAITING_MS = 250;
const WAITS = 10;
const LOG_MS = 1_000;

/**
 * Refuses calls that this process cannot bear. What counts is what our own resources tell: how long something waits that needs the event loop, or a connection of the pool.
 * Calls that wait for a provider, an event or a target are in nobody's way, and do not count.
 */
export class LoadShedder {
  readonly #app: App;
  readonly #shed: Counter<'reason'>;
  /** At work, by start, with the tenant of each; '' as long as it is not known. */
  readonly #atWork = new Map<Load, string>();
  readonly #ofTenant = new Map<string, number>();
  #limit: number;
  #peak = 0;
  #loopMs: number[] = [];
  #databaseMs: number[] = [];
  #probe: number | null = null;
  /** How long a connection took to be had, at the least, in the last moment. */
  #waitMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #unlogged = 0;
  #loggedAt = 0;

  constructor(app: App) {
    this.#app = app;
    this.#limit = app.config.maxInFlight;
    const registers = [app.metrics.registry];
    this.#shed = new Counter({
      ...{ name: 'latchkey_calls_shed_total', labelNames: ['reason'] as const, registers },
      help: 'Calls refused with OVERLOADED, because there were as many as there may ever be (in_flight), or as can be borne now (load).',
    });
    const limit = () => this.#limit;
    new Gauge({
      ...{ name: 'latchkey_concurrency_limit', registers },
      help: 'Calls that may be at work at once, as this process bears them now.',
      collect() {
        this.set(limit());
      },
    });
  }

  start(): void {
    this.#sample(performance.now());
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /** Counts a call that comes in. Answers whether one more can be looked at. */
  enter(load: Load): boolean {
    const size = this.#atWork.size + 1;
    this.#atWork.set(load, '');
    if (size > this.#peak) this.#peak = size;
    return size <= 2 * this.#limit || this.#refuse('load');
  }

  /** Whether a call that has entered may go on. Where some must go, they are of tenants that have more than their share. */
  admits(load: Load, tenantId: string, urgent: boolean): boolean {
    const own = (this.#ofTenant.get(tenantId) ?? 0) + 1;
    if (this.#atWork.has(load)) {
      this.#atWork.set(load, tenantId);
      this.#ofTenant.set(tenantId, own);
    }
    if (this.#atWork.size <= this.#limit) return true;
    const withinShare = own <= this.#limit / this.#ofTenant.size;
    return this.#atWork.size <= roomFor(this.#limit, { withinShare, urgent }) || this.#refuse('load');
  }

  leave(load: Load): void {
    const tenantId = this.#atWork.get(load);
    if (tenantId === undefined) return;
    this.#atWork.delete(load);
    if (tenantId === '') return;
    const left = this.#ofTenant.get(tenantId)! - 1;
    if (left > 0) this.#ofTenant.set(tenantId, left);
    else this.#ofTenant.delete(tenantId);
  }

  /** Notes a refusal. */
  #refuse(reason: 'load' | 'in_flight'): false {
    this.#shed.inc({ reason });
    this.#unlogged += 1;
    return false;
  }

  /** Notes that there are as many calls as there may ever be. */
  full(): void {
    this.#refuse('in_flight');
  }

  #sample(dueAt: number): void {
    const now = performance.now();
    this.#loopMs.push(Math.max(0, now - dueAt));
    this.#sampleDatabase(now);
    for (const load of this.#atWork.keys()) {
      if (load.startedAt > now - WAITING_MS - WAITS * this.#waitMs) break;
      this.leave(load);
    }
    if (this.#loopMs.length >= SAMPLES) this.#conclude();
    this.#timer = setTimeout(() => this.#sample(now + SAMPLE_MS), SAMPLE_MS);
    this.#timer.unref();
  }

  /** How long a connection takes to be had, tried where others wait for one. */
  #sampleDatabase(now: number): void {
    const { pool } = this.#app;
    if (this.#probe !== null) return;
    if (pool.waitingCount === 0) {
      this.#databaseMs.push(0);
      return;
    }
    this.#probe = now;
    const done = () => {
      this.#databaseMs.push(performance.now() - now);
      this.#probe = null;
    };
    pool.connect().then((client) => {
      client.release();
      done();
    }, done);
  }

  #conclude(): void {
    const { config, log } = this.#app;
    const now = performance.now();
    const waits = this.#databaseMs.length > 0 ? this.#databaseMs : [now - (this.#probe ?? now)];
    this.#waitMs = Math.min(...waits);
    const moment = { peak: this.#peak, loopMs: Math.min(...this.#loopMs), databaseMs: this.#waitMs };
    this.#limit = nextLimit(this.#limit, moment, { least: config.minInFlight, most: config.maxInFlight });
    this.#peak = this.#atWork.size;
    this.#loopMs = [];
    this.#databaseMs = [];
    if (this.#unlogged === 0 || now - this.#loggedAt < LOG_MS) return;
    log.warn({ calls: this.#unlogged, limit: this.#limit, ...moment }, 'calls were refused: there were too many');
    this.#unlogged = 0;
    this.#loggedAt = now;
  }
}

/** Made ahead, for whoever is refused must cost next to nothing; they come back at different times. */
const OVERLOADED = Array.from(
  { length: 16 },
  (_, n) => new LatchkeyError('OVERLOADED', { retryAfterMs: 100 + 20 * n }),
);

export function overloaded(): LatchkeyError {
  return OVERLOADED[Math.floor(Math.random() * OVERLOADED.length)]!;
}
