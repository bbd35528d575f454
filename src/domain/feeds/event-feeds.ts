import { LatchkeyError } from '../../base/error.ts';
import { Signals } from '../../base/signals.ts';
import type { EventRow } from '../../model/outbox-event.ts';
import type { App, EventFeed, EventFeeds } from '../call.ts';
import { headOf } from './event-cursor.ts';
import { readEvents } from './event-row.ts';

const PAGE = 100;
/** Read again by whoever is further behind. */
const KEPT = 1_000;
/** News are announced; this often it is looked whether some were missed. */
const LOOK_MS = 1_000;

/** What happens in the tenants that somebody watches: read once for all watchers of this process. */
export class TenantFeeds implements EventFeeds {
  readonly #feeds = new Map<string, Promise<TenantFeed>>();
  #stopped = false;

  async open(app: App, tenantId: string): Promise<{ feed: EventFeed; close(): void }> {
    if (this.#stopped) throw shuttingDown();
    const opening = this.#feeds.get(tenantId) ?? TenantFeed.open(app, tenantId);
    this.#feeds.set(tenantId, opening);
    const forget = () => {
      if (this.#feeds.get(tenantId) === opening) this.#feeds.delete(tenantId);
    };
    const feed = await opening.catch((error) => {
      forget();
      throw error;
    });
    // It may have ended while this was waiting.
    if (!feed.enter()) {
      forget();
      return this.open(app, tenantId);
    }
    return { feed, close: () => feed.leave() && forget() };
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const opening of this.#feeds.values()) (await opening.catch(() => null))?.end();
  }
}

/** The newest events of one tenant. */
class TenantFeed implements EventFeed {
  readonly #app: App;
  readonly #tenantId: string;
  readonly #news = new Signals();
  readonly #ended = new AbortController();
  /** All events after `#start`, in their order. */
  #rows: EventRow[] = [];
  #start: number;
  #end: number;
  #readAt: number;
  #watchers = 0;

  private constructor(app: App, tenantId: string, position: number, readAt: number) {
    this.#app = app;
    this.#tenantId = tenantId;
    this.#start = position;
    this.#end = position;
    this.#readAt = readAt;
  }

  static async open(app: App, tenantId: string): Promise<TenantFeed> {
    const readAt = app.clock.now();
    const { position } = await headOf(app, tenantId);
    const feed = new TenantFeed(app, tenantId, position, readAt);
    void feed.#follow();
    return feed;
  }

  /** False: it has ended. */
  enter(): boolean {
    if (this.#ended.signal.aborted) return false;
    this.#watchers += 1;
    return true;
  }

  /** Whether that was the last watcher. */
  leave(): boolean {
    this.#watchers -= 1;
    if (this.#watchers === 0) this.end();
    return this.#watchers === 0;
  }

  end(): void {
    this.#ended.abort();
    this.#news.fire('');
  }

  async after(position: number, timeoutMs: number, signal: AbortSignal) {
    if (position < this.#start) {
      const rows = await readEvents(this.#app, this.#tenantId, position, PAGE);
      // Where nothing is left between, it was deleted.
      return this.#answer(rows, rows.at(-1)?.position ?? this.#start);
    }
    if (position >= this.#end) await this.#news.wait('', timeoutMs, signal);
    if (this.#ended.signal.aborted) throw shuttingDown();
    if (position < this.#start) return this.#answer([], position);
    const from = this.#rows.findLastIndex((row) => row.position <= position) + 1;
    const rows = this.#rows.slice(from, from + PAGE);
    return this.#answer(rows, rows.at(-1)?.position ?? position);
  }

  #answer(rows: EventRow[], position: number) {
    const time = position >= this.#end ? this.#readAt : rows.at(-1)?.createTime.getTime();
    return { rows, position, time: time ?? null };
  }

  async #follow(): Promise<void> {
    const { changes, log } = this.#app;
    const { signal } = this.#ended;
    while (!signal.aborted) {
      const news = { kind: 'event' as const, tenantId: this.#tenantId, id: 'placed' };
      const waiting = changes.wait(news, LOOK_MS, signal);
      try {
        while (await this.#readOn());
      } catch (error) {
        log.warn({ err: error }, 'events were not read for their watchers');
      }
      await waiting;
    }
  }

  /** Whether there may be more. */
  async #readOn(): Promise<boolean> {
    const readAt = this.#app.clock.now();
    const rows = await readEvents(this.#app, this.#tenantId, this.#end, PAGE);
    const more = rows.length === PAGE;
    if (!more) this.#readAt = readAt;
    const last = rows.at(-1);
    if (!last) return false;
    const kept = [...this.#rows, ...rows];
    const dropped = kept.splice(0, Math.max(0, kept.length - KEPT)).at(-1);
    this.#rows = kept;
    this.#start = dropped?.position ?? this.#start;
    this.#end = last.position;
    this.#news.fire('');
    return more && !this.#ended.signal.aborted;
  }
}

function shuttingDown(): LatchkeyError {
  return new LatchkeyError('SHUTTING_DOWN', { retryAfterMs: 1_000 });
}
