import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { type EventSink, type OutgoingMessage, SEND_MS } from '../clients/kafka.ts';
import type { KafkaSettings } from '../config.ts';
import { hot } from '../db/hot.ts';
import type { App, Dependency } from '../domain/call.ts';
import { kafkaMessage } from '../domain/events/kafka-message.ts';
import { eventOf, type StoredEvent } from '../domain/feeds/event-row.ts';

/** What a replica that dies may have sent and not noted: the next one sends it again, under the same ids. */
const BATCH = 128;
/** A replica that died is given up after so long; one that lives says so in time. */
const LEASE_MS = 2 * SEND_MS;
const RENEW_MS = LEASE_MS / 5;
const LOOK_MS = 1_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;
const LAG_MS = 5_000;
/** Events that wait for longer are worth a look. */
const LATE_S = 60;

type Lane = { position: number; epoch: number };
type Taken = { lane: number; position: string; epoch: string };

/**
 * Sends events to Kafka, in order within each lane of the outbox. Each lane is one replica's at a time: it holds a lease by the clock of the database, and begins
 * nothing that would not end before the lease. How far it came is written once all are acknowledged. The lanes are shared among the replicas that live.
 */
export class EventRelay {
  readonly #app: App;
  readonly #sink: EventSink;
  readonly #topics: KafkaSettings['topics'];
  readonly #stopping = new AbortController();
  readonly #id = randomUUID();
  readonly #lanes = new Map<number, Lane>();
  /** When the leases end, and when to look for free lanes again; of the monotonic clock. */
  #leaseEnd = 0;
  #takeAt = 0;
  #failed = false;
  #lag = { events: 0, seconds: 0 };
  #following: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;

  constructor(app: App, sink: EventSink, topics: KafkaSettings['topics']) {
    this.#app = app;
    this.#sink = sink;
    this.#topics = topics;
  }

  start(): void {
    this.#following = this.#follow();
    this.#timer = setInterval(() => void this.#measureLag(), LAG_MS);
    this.#timer.unref();
  }

  /** What is being sent is sent to its end; then others may take over at once. */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#stopping.abort();
    await this.#following;
    await this.#leave().catch((error: unknown) =>
      this.#app.log.warn({ err: error }, 'the leases of the relay end by their time'),
    );
    await this.#sink.close();
  }

  /** For readiness: events can wait, so it is never down. */
  status(): Omit<Dependency, 'since'> {
    const { events, seconds } = this.#lag;
    const seen = { name: 'kafka', latencyMs: null };
    if (this.#failed) return { ...seen, status: 'degraded', detail: `does not answer; ${events} events wait` };
    if (seconds > LATE_S) return { ...seen, status: 'degraded', detail: `${events} events wait to be sent` };
    return { ...seen, status: 'up', detail: '' };
  }

  async #follow(): Promise<void> {
    const { changes, log } = this.#app;
    const { signal } = this.#stopping;
    let pauseMs = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      let waiting = changes.any('event', LOOK_MS, signal);
      try {
        await this.#keepLeases();
        if ((await this.#sendBatch()) && !signal.aborted) continue;
        pauseMs = FIRST_PAUSE_MS;
      } catch (error) {
        log.warn({ err: error }, 'events were not relayed; they wait');
        waiting = pause(pauseMs, undefined, { signal }).catch(() => {});
        pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
      }
      await waiting;
    }
  }

  /** Answers whether there may be more. */
  async #sendBatch(): Promise<boolean> {
    // Another replica has them, and knows how Kafka does.
    if (this.#lanes.size === 0) {
      this.#failed = false;
      return false;
    }
    const rows = await hot<StoredEvent & { lane: number }>(this.#app.pool, 'readLanes', [
      [...this.#lanes.keys()],
      [...this.#lanes.values()].map(({ position }) => position),
      BATCH,
    ]);
    if (rows.length === 0) return false;
    const messages = rows
      .map((row) => kafkaMessage(this.#topics, this.#app.publicUrl, eventOf(row)))
      .filter((message): message is OutgoingMessage => message !== null);
    if (messages.length > 0) await this.#send(messages);
    const reached = new Map(rows.map(({ lane, position }) => [lane, Number(position)]));
    await this.#renew(reached);
    this.#app.metrics.relayedEvents.inc(rows.length);
    return rows.length === BATCH;
  }

  async #send(messages: OutgoingMessage[]): Promise<void> {
    // This process may have stood still since it read them.
    if (performance.now() + SEND_MS > this.#leaseEnd) await this.#renew(new Map());
    try {
      await this.#sink.send(messages);
      this.#failed = false;
    } catch (error) {
      this.#failed = true;
      throw error;
    }
  }

  async #keepLeases(): Promise<void> {
    const now = performance.now();
    if (now >= this.#takeAt) await this.takeLanes();
    if (this.#lanes.size > 0 && now > this.#leaseEnd - LEASE_MS + RENEW_MS) await this.#renew(new Map());
  }

  /** Takes lanes that nobody has, up to its share of all, and gives back what it has beyond that. */
  async takeLanes(): Promise<void> {
    const { pool } = this.#app;
    const askedAt = performance.now();
    // Those that it has are renewed first: their end is the end of all.
    if (this.#lanes.size > 0) await this.#renew(new Map());
    const [joined] = await hot<{ share: number }>(pool, 'joinRelay', [this.#id, LEASE_MS]);
    const room = joined!.share - this.#lanes.size;
    if (room < 0) await this.#release([...this.#lanes].slice(room));
    const taken = room > 0 ? await hot<Taken>(pool, 'takeLanes', [LEASE_MS, room]) : [];
    for (const { lane, position, epoch } of taken)
      this.#lanes.set(lane, { position: Number(position), epoch: Number(epoch) });
    if (taken.length > 0) this.#leaseEnd = askedAt + LEASE_MS;
    this.#takeAt = askedAt + LOOK_MS;
  }

  /** Notes how far lanes came, and goes on holding them. Those that somebody has taken over are let go: nothing of them is sent. */
  async #renew(reached: ReadonlyMap<number, number>): Promise<void> {
    const askedAt = performance.now();
    const lanes = [...this.#lanes];
    const renewed = await hot<{ lane: number }>(this.#app.pool, 'renewLanes', [
      lanes.map(([lane]) => lane),
      lanes.map(([lane, { position }]) => reached.get(lane) ?? position),
      lanes.map(([, { epoch }]) => epoch),
      LEASE_MS,
    ]);
    const kept = new Set(renewed.map(({ lane }) => lane));
    for (const [lane, held] of lanes) {
      held.position = reached.get(lane) ?? held.position;
      if (!kept.has(lane)) this.#lanes.delete(lane);
    }
    this.#leaseEnd = askedAt + LEASE_MS;
    if (kept.size < lanes.length) throw new Error('another replica has taken over');
  }

  async #leave(): Promise<void> {
    await hot(this.#app.pool, 'leaveRelay', [this.#id]);
    await this.#release([...this.#lanes]);
  }

  async #release(lanes: [number, Lane][]): Promise<void> {
    for (const [lane] of lanes) this.#lanes.delete(lane);
    await hot(this.#app.pool, 'releaseLanes', [lanes.map(([lane]) => lane), lanes.map(([, { epoch }]) => epoch)]);
  }

  async #measureLag(): Promise<void> {
    const { pool, metrics, log } = this.#app;
    try {
      const [row] = await hot<{ events: string; seconds: number }>(pool, 'outboxLag', []);
      this.#lag = { events: Number(row!.events), seconds: row!.seconds };
      metrics.outboxLagEvents.set(this.#lag.events);
      metrics.outboxLagSeconds.set(this.#lag.seconds);
    } catch (error) {
      log.warn({ err: error }, 'the lag of the outbox was not measured');
    }
  }
}
