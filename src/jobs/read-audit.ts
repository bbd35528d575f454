import type { Pool } from 'pg';
import { LatchkeyError } from '../base/error.ts';
import type { Log } from '../base/log.ts';
import type { Metrics } from '../base/metrics.ts';
import type { AuditReads } from '../config.ts';
import { hot } from '../db/hot.ts';
import type { ReadAudit } from '../domain/call.ts';
import type { ReadEntry } from '../model/audit-entry.ts';

const FLUSH_MS = 200;
/** Entries to a statement. */
const BATCH_ENTRIES = 5_000;
/** Entries kept while the database does not answer; beyond it reads are refused. */
const BUFFERED_ENTRIES = 100_000;
/** How exactly `last_used_at` is kept. */
const USED_MS = 60_000;
const USED_CONNECTIONS = 1_000_000;
const COLUMNS = [
  ...(['id', 'actorKind', 'actorId', 'onBehalfOf', 'action', 'resourceType', 'resourceId'] as const),
  ...(['requestId', 'address', 'time'] as const),
];

/**
 * Writes audit entries about reads.
 * Batched: at most 200 ms later, and while a batch cannot be written reads are refused. Strict: before the answer. Off: not at all.
 */
export class ReadAuditWriter implements ReadAudit {
  readonly #mode: AuditReads;
  readonly #pool: Pool;
  readonly #log: Log;
  readonly #metrics: Metrics;
  #entries: ReadEntry[] = [];
  /** Being written. Tried again as it is, so that the database knows it from its first entry. */
  #batch: ReadEntry[] = [];
  #failing = false;
  #flushing: Promise<void> | null = null;
  #timer: NodeJS.Timeout | undefined;
  #usedAt = new Map<string, number>();
  #used = new Map<string, Set<string>>();

  constructor(mode: AuditReads, pool: Pool, log: Log, metrics: Metrics) {
    this.#mode = mode;
    this.#pool = pool;
    this.#log = log;
    this.#metrics = metrics;
  }

  /** Whether the last batch could not be written. */
  get failing(): boolean {
    return this.#failing;
  }

  record(entry: ReadEntry): void | Promise<void> {
    if (this.#mode === 'off') return;
    if (this.#mode === 'strict') return this.#write([entry]).catch((error) => Promise.reject(auditUnavailable(error)));
    if (this.#failing || this.#entries.length >= BUFFERED_ENTRIES) throw auditUnavailable();
    this.#entries.push(entry);
    this.#schedule();
  }

  used(tenantId: string, connectionId: string): void {
    const now = performance.now();
    const key = `${tenantId} ${connectionId}`;
    const before = this.#usedAt.get(key);
    if (before !== undefined && now - before < USED_MS) return;
    if (this.#usedAt.size >= USED_CONNECTIONS) this.#usedAt.clear();
    this.#usedAt.set(key, now);
    const ids = this.#used.get(tenantId) ?? new Set();
    this.#used.set(tenantId, ids.add(connectionId));
    this.#schedule();
  }

  /** Writes what is left. */
  async stop(): Promise<void> {
    clearTimeout(this.#timer);
    await this.#flushing;
    await this.#flush();
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#flushing ??= this.#flush().finally(() => {
        this.#flushing = null;
        if (this.#failing || this.#entries.length > 0 || this.#used.size > 0) this.#schedule();
      });
    }, FLUSH_MS);
  }

  async #flush(): Promise<void> {
    try {
      while (this.#batch.length > 0 || this.#entries.length > 0) {
        if (this.#batch.length === 0) this.#batch = this.#entries.splice(0, BATCH_ENTRIES);
        await this.#write(this.#batch);
        this.#batch = [];
      }
      this.#failing = false;
    } catch (error) {
      this.#failing = true;
      this.#metrics.auditFailures.inc();
      this.#log.error(
        { err: error, entries: this.#entries.length },
        'audit entries of reads cannot be written; secrets are not handed out until they can',
      );
    }
    this.#metrics.auditBuffered.set(this.#batch.length + this.#entries.length);
    await this.#writeUsed();
  }

  /** One statement for all tenants. A batch whose outcome is unknown is written again, and is there once. */
  async #write(entries: readonly ReadEntry[]): Promise<void> {
    const byTenant = [...Map.groupBy(entries, (entry) => entry.tenantId)];
    const columns = Object.fromEntries(byTenant.map(([tenantId, own]) => [tenantId, columnsOf(own)]));
    await hot(this.#pool, 'appendAudit', [JSON.stringify(columns)]);
  }

  async #writeUsed(): Promise<void> {
    const used = this.#used;
    this.#used = new Map();
    for (const [tenantId, ids] of used) {
      await hot(this.#pool, 'markUsed', [tenantId, [...ids], new Date()]).catch((error: unknown) => {
        // A mark that is lost is made again at the next use.
        for (const id of ids) this.#usedAt.delete(`${tenantId} ${id}`);
        this.#log.warn({ err: error }, 'the use of connections was not noted');
      });
    }
  }
}

function columnsOf(entries: readonly ReadEntry[]) {
  return Object.fromEntries(COLUMNS.map((column) => [column, entries.map((entry) => entry[column])]));
}

function auditUnavailable(cause?: unknown): LatchkeyError {
  return new LatchkeyError('AUDIT_UNAVAILABLE', { retryAfterMs: 1_000, cause });
}
