import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { CallOutcome, Usage } from '../domain/call.ts';
import type { UsageCount } from '../domain/usage/add-usage.ts';

const FLUSH_MS = 2_000;
/** Connections counted while the database does not answer; calls of others are not counted then. */
const MOST_COUNTS = 100_000;
const DAY_MS = 24 * 3_600_000;

type Write = (tenantId: string, counts: readonly UsageCount[]) => Promise<void>;

/**
 * Counts calls in memory, and has them written every 2 s and at the end. A kill loses what was counted since; a batch whose outcome is unknown is
 * written again, and may count twice.
 */
export class UsageCounter implements Usage {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #write: Write;
  /** By tenant, then by connection and day. */
  #counts = new Map<string, Map<string, UsageCount>>();
  #size = 0;
  #timer: NodeJS.Timeout | undefined;
  #flushing: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(clock: Clock, log: Log, write: Write) {
    this.#clock = clock;
    this.#log = log;
    this.#write = write;
  }

  called(tenantId: string, connectionId: string, outcome: CallOutcome): void {
    const count = this.#countOf(tenantId, connectionId, dayOf(this.#clock.now()));
    if (!count) return;
    count.calls += 1;
    if (outcome === 'error') count.errors += 1;
    if (outcome === 'rate_limited') count.rateLimited += 1;
  }

  /** Writes what is left. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#flushing;
    await this.#flush();
  }

  #countOf(tenantId: string, connectionId: string, day: string): UsageCount | null {
    const ofTenant = this.#counts.get(tenantId) ?? new Map<string, UsageCount>();
    const key = `${connectionId} ${day}`;
    const known = ofTenant.get(key);
    if (known) return known;
    if (this.#size >= MOST_COUNTS) return null;
    const fresh = { connectionId, day, calls: 0, errors: 0, rateLimited: 0 };
    this.#counts.set(tenantId, ofTenant.set(key, fresh));
    this.#size += 1;
    this.#schedule();
    return fresh;
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#timer ??= setTimeout(() => {
      this.#flushing = this.#flush().finally(() => {
        this.#timer = undefined;
        if (this.#size > 0) this.#schedule();
      });
    }, FLUSH_MS);
  }

  async #flush(): Promise<void> {
    const counts = this.#counts;
    this.#counts = new Map();
    this.#size = 0;
    for (const [tenantId, ofTenant] of counts) {
      await this.#write(tenantId, [...ofTenant.values()]).catch((error: unknown) => {
        this.#log.warn({ err: error, tenantId }, 'the usage of connections was not written down; it is tried again');
        this.#keep(tenantId, ofTenant.values());
      });
    }
  }

  #keep(tenantId: string, counts: Iterable<UsageCount>): void {
    for (const { connectionId, day, calls, errors, rateLimited } of counts) {
      const count = this.#countOf(tenantId, connectionId, day);
      if (!count) return;
      count.calls += calls;
      count.errors += errors;
      count.rateLimited += rateLimited;
    }
  }
}

let today = { number: -1, text: '' };

/** The day in UTC, as `2026-11-25`. */
function dayOf(ms: number): string {
  const number = Math.floor(ms / DAY_MS);
  if (today.number !== number) today = { number, text: new Date(ms).toISOString().slice(0, 10) };
  return today.text;
}
