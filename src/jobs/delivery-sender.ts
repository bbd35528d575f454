import { IntegrityError } from '../crypto/sealed-value.ts';
import { Batcher } from '../db/batcher.ts';
import { databaseUnavailable, isDatabaseUnavailable } from '../db/errors.ts';
import { hot } from '../db/hot.ts';
import { DELIVERY_DUE } from '../db/listen.ts';
import type { App } from '../domain/call.ts';
import type {
  Deliveries,
  DeliveryOutcome,
  DeliveryRequest,
  DeliveryTask,
  LeasedDelivery,
  NewDelivery,
} from '../domain/deliveries.ts';
import { disableGone } from '../domain/endpoints/disable-endpoint.ts';
import { attemptDelivery } from '../domain/webhooks/attempt-delivery.ts';
import { deliveryRow } from '../domain/webhooks/delivery-row.ts';
import { type AttemptResult, judgeAttempt } from '../domain/webhooks/judge-attempt.ts';
import { Lanes, type Slot } from '../domain/webhooks/lanes.ts';
import { released, settleDelivery } from '../domain/webhooks/settle-delivery.ts';
import { type DeliveryPurpose, deliveryPlace } from '../model/delivery.ts';
import type { JsonObject } from '../model/json.ts';

/** How much longer than an attempt may take its lease is. */
const LEASE_GUARD_MS = 5_000;
/** Before the end of a lease, as the database sees it, nothing leaves any more. */
const LEASE_MARGIN_MS = 1_000;
/** How often it is looked what is due; of most that is heard at once. */
const POLL_MS = 500;
/** What is due sooner is looked for to the millisecond, the rest by the poll. */
const LOOK_AHEAD_MS = 10_000;
/** Claims are at least so far apart, so that each finds more than one free slot. */
const CLAIM_PAUSE_MS = 5;
const SETTLE_AGAIN_MS = 250;
/** Leases in a row without an outcome after which a delivery may be what ends the process: of such suspects one is sent at a time. */
const SUSPECT = 3;
/** And after which it is given up. */
const MOST_LOST = 5;
const BATCH = { items: 500, weight: 4 * 1024 * 1024 };

/** Beside the names of tenants and lanes: all slots. */
const EVERYTHING = '';

type Claimed = { tenant_id: string; id: string; lane: number; claims: number };
type Row = {
  tenant_id: string;
  id: string;
  message_id: string;
  purpose: DeliveryPurpose;
  connection_id: string | null;
  signed_by: string;
  host: string;
  lane: number;
  method: string;
  sealed: Buffer;
  timeout_ms: number;
  backoff_ms: number;
  max_attempts: number;
  attempt_count: number;
  awaited: boolean;
  lease_epoch: number;
};
/** What is written of one delivery. */
type Written = { tenantId: string; value: JsonObject | string };

/**
 * Sends deliveries, on any number of replicas. What comes in is stored under a lease and sent at once while there is room; the rest, what is tried
 * again and what a dead replica had in hand is leased when it is due. Leases end by the clock of the database, and outcomes are written in batches.
 */
export class DeliverySender implements Deliveries {
  readonly #app: App;
  readonly #lanes: Lanes;
  readonly #accepting: Batcher<Written>;
  readonly #settling: Batcher<Written>;
  readonly #sending = new Set<Promise<void>>();
  readonly #aborting = new AbortController();
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Tenants and lanes that had no room when it was last looked. */
  #full = new Set<string>();
  #after = '';
  #suspects = 0;
  #stopped = false;
  #due = false;
  #wake = (): void => {};
  #running: Promise<void> = Promise.resolve();

  constructor(app: App) {
    this.#app = app;
    this.#lanes = new Lanes(() => app.clock.monotonic());
    this.#accepting = new Batcher((items) => hot(app.pool, 'acceptDeliveries', [byTenant(items)]), BATCH);
    this.#settling = new Batcher((items) => hot(app.pool, 'settleDeliveries', [byTenant(items)]), BATCH);
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Begins nothing more, lets what is under way end within the grace, and gives back the rest. */
  async stop(graceMs: number): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#running;
    for (const timer of this.#timers) clearTimeout(timer);
    const timer = setTimeout(() => this.#aborting.abort(), graceMs);
    while (this.#sending.size > 0) await Promise.all(this.#sending);
    clearTimeout(timer);
  }

  async accept(delivery: NewDelivery): Promise<void> {
    const { task } = delivery;
    const start = this.#app.clock.monotonic();
    const slot = this.#stopped ? null : this.#lanes.takeAtOnce(task.tenantId, task.lane);
    try {
      const value = deliveryRow(
        delivery,
        slot ? { status: 'DELIVERING', leaseMs: leaseMsOf(task) } : { status: 'PENDING' },
      );
      await this.#accepting.add({ tenantId: task.tenantId, value }, delivery.sealed.length);
    } catch (error) {
      if (slot) this.#lanes.give(slot, null);
      throw isDatabaseUnavailable(error) ? databaseUnavailable(error) : error;
    }
    if (slot) this.#track(this.#send({ ...task, epoch: 1, leaseEnd: leaseEndOf(start, task) }, slot));
    else this.look();
  }

  look(): void {
    this.#due = true;
    this.#wake();
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      this.#due = false;
      const claimed = await this.#claim().catch((error: unknown) => {
        this.#app.log.warn({ err: error }, 'due deliveries were not looked for');
        return 0;
      });
      await this.#pause(CLAIM_PAUSE_MS);
      if (claimed === 0 && !this.#due) await this.#idle();
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((done) => setTimeout(done, ms));
  }

  /** Until something is said to be due, here or elsewhere, or for the time of a poll. */
  #idle(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    const waiting = new AbortController();
    return new Promise((done) => {
      this.#wake = () => {
        waiting.abort();
        done();
      };
      this.#app.changes.wait(DELIVERY_DUE, POLL_MS, waiting.signal).then(done);
    });
  }

  /** Leases what there is room for and begins to send it. Answers how many. */
  async #claim(): Promise<number> {
    const { rooms, most, mostNew, perTenant, perLane } = this.#lanes.room();
    this.#full = new Set(Object.keys(rooms).filter((name) => rooms[name]! <= 0));
    if (most <= 0) {
      this.#full.add(EVERYTHING);
      return 0;
    }
    const start = this.#app.clock.monotonic();
    const claimed = await hot<Claimed>(this.#app.pool, 'claimDeliveries', [
      ...[this.#after, JSON.stringify(rooms), most, mostNew, perTenant, perLane, LEASE_GUARD_MS],
      this.#suspects > 0 ? 0 : 1,
    ]);
    if (claimed.length === 0) {
      this.#after = '';
      return 0;
    }
    this.#after = claimed.at(-1)!.tenant_id;
    // Taken before they are read, so that nothing else takes their places.
    const slots = new Map(claimed.map(({ tenant_id, id, lane }) => [id, this.#lanes.take(tenant_id, lane)]));
    const lost = new Map(claimed.map(({ id, claims }) => [id, claims - 1]));
    try {
      const rows = await hot<Row>(this.#app.pool, 'readDeliveries', [byTenant(claimed.map(routed))]);
      for (const row of rows) {
        const slot = slots.get(row.id);
        slots.delete(row.id);
        if (slot) this.#track(this.#open(row, lost.get(row.id)!, start, slot));
      }
    } finally {
      for (const slot of slots.values()) this.#lanes.give(slot, null);
    }
    return claimed.length;
  }

  async #open(row: Row, lost: number, start: number, slot: Slot): Promise<void> {
    const suspect = lost >= SUSPECT;
    if (suspect) this.#suspects += 1;
    try {
      await this.#begin(row, lost, start, slot);
    } finally {
      if (suspect) this.#suspects -= 1;
      if (suspect) this.look();
    }
  }

  async #begin(row: Row, lost: number, start: number, slot: Slot): Promise<void> {
    const lease = { epoch: row.lease_epoch, leaseEnd: start + row.timeout_ms + LEASE_GUARD_MS - LEASE_MARGIN_MS };
    const request = lost >= MOST_LOST ? this.#abandoned(row) : await this.#requestOf(row);
    if (!('kind' in request)) return this.#send({ ...taskOf(row, request), ...lease }, slot);
    this.#lanes.give(slot, null);
    const unsent = { ...taskOf(row, { url: '', headers: [], body: null }), ...lease };
    const verdict = judgeAttempt(request, row.purpose);
    const attempt = { time: this.#app.clock.now(), durationMs: 0, statusCode: 0, error: verdict.error };
    return this.#settle(unsent, settleDelivery(unsent, verdict, attempt, 0));
  }

  #abandoned({ tenant_id: tenant, id: deliveryId }: Row): AttemptResult {
    this.#app.log.error(
      { tenant, deliveryId },
      'a delivery is given up: each process that sent it ended or stood still',
    );
    return { kind: 'abandoned' };
  }

  async #requestOf(row: Row): Promise<DeliveryRequest | AttemptResult> {
    const { keyring, log, metrics } = this.#app;
    try {
      const opened = await keyring.open(deliveryPlace(row.tenant_id, row.id), row.sealed);
      return JSON.parse(opened.toString()) as DeliveryRequest;
    } catch (error) {
      log.error({ err: error, deliveryId: row.id }, 'a stored delivery does not open');
      // Else the key could not be had, and it is tried again.
      const altered = error instanceof IntegrityError;
      if (altered) metrics.integrityFailures.inc();
      return { kind: 'refused', reason: altered ? 'INTERNAL' : 'DATABASE_UNAVAILABLE' };
    }
  }

  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => this.#app.log.error({ err: error }, 'a delivery was left to the end of its lease'))
      .finally(() => this.#sending.delete(tracked));
    this.#sending.add(tracked);
  }

  async #send(delivery: LeasedDelivery, slot: Slot): Promise<void> {
    const { clock, metrics } = this.#app;
    if (this.#stopped) {
      this.#lanes.give(slot, null);
      return this.#settle(delivery, released(delivery, 0));
    }
    const [time, start] = [clock.now(), clock.monotonic()];
    const result = await attemptDelivery(this.#app, delivery, this.#aborting.signal);
    const verdict = judgeAttempt(result, delivery.purpose);
    this.#give(slot, verdict.destinationWell);
    metrics.deliveryAttempts.inc({ outcome: verdict.next });
    // Before the outcome is written: what dies between the two is sent again, and finds the endpoint disabled. Where the endpoint has moved meanwhile, it is sent to the new place.
    const moved =
      verdict.gone &&
      delivery.purpose === 'event' &&
      !(await disableGone(this.#app, delivery.tenantId, delivery.signedBy, result.url));
    if (moved) return this.#settle(delivery, released(delivery, 0));
    const attempt = {
      ...{ time, durationMs: Math.round(clock.monotonic() - start), error: verdict.error },
      statusCode: result.kind === 'answered' ? result.status : 0,
    };
    return this.#settle(delivery, settleDelivery(delivery, verdict, attempt, Math.random()));
  }

  #give(slot: Slot, well: boolean | null): void {
    this.#lanes.give(slot, well);
    const names = [EVERYTHING, slot.tenantId, `${slot.tenantId} ${slot.lane}`];
    if (names.some((name) => this.#full.has(name))) this.look();
  }

  /** Writes an outcome, for as long as the lease is ours. */
  async #settle(delivery: LeasedDelivery, outcome: DeliveryOutcome): Promise<void> {
    const app = this.#app;
    const { tenantId, id, awaited, leaseEnd } = delivery;
    for (;;) {
      try {
        await this.#settling.add({ tenantId, value: outcome });
        break;
      } catch (error) {
        app.log.warn({ err: error, deliveryId: id }, 'the outcome of a delivery was not written');
        if (app.clock.monotonic() > leaseEnd) return;
        await this.#pause(SETTLE_AGAIN_MS);
      }
    }
    if (outcome.status === 'PENDING') this.#lookIn(outcome.waitMs);
    else if (awaited) app.forget({ kind: 'delivery', tenantId, id });
  }

  #lookIn(ms: number): void {
    if (this.#stopped || ms > LOOK_AHEAD_MS) return;
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      this.look();
    }, ms + 1);
    timer.unref();
    this.#timers.add(timer);
  }
}

function leaseMsOf({ timeoutMs }: DeliveryTask): number {
  return timeoutMs + LEASE_GUARD_MS;
}

function leaseEndOf(start: number, task: DeliveryTask): number {
  return start + leaseMsOf(task) - LEASE_MARGIN_MS;
}

function routed({ tenant_id: tenantId, id }: Claimed): Written {
  return { tenantId, value: id };
}

/** Values by tenant, as JSON; in order of tenants, as all who lock rows of several do. */
function byTenant(items: readonly Written[]): string {
  const grouped = [...Map.groupBy(items, ({ tenantId }) => tenantId)].sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify(
    Object.fromEntries(grouped.map(([tenantId, own]) => [tenantId, own.map(({ value }) => value)])),
  );
}

function taskOf(row: Row, request: DeliveryRequest): DeliveryTask {
  return {
    ...{ tenantId: row.tenant_id, id: row.id, messageId: row.message_id, purpose: row.purpose },
    ...{ connectionId: row.connection_id, signedBy: row.signed_by, host: row.host, lane: row.lane },
    ...{ method: row.method, request, timeoutMs: row.timeout_ms, backoffMs: row.backoff_ms },
    ...{ maxAttempts: row.max_attempts, attemptCount: row.attempt_count, awaited: row.awaited },
  };
}
