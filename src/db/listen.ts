import { Client } from 'pg';
import type { Log } from '../base/log.ts';

const CHANNEL = 'latchkey_changed';
const HEARTBEAT_MS = 1_000;
const ANSWER_MS = 2_000;
const RECONNECT_MS = 500;
/** How long cached values are believed after the last sign that changes are heard. */
const BELIEVED_MS = 5_000;

/** What changed: every replica drops what it remembers of it. */
export type Changed = {
  kind:
    | 'connection'
    | 'secret'
    | 'api_key'
    | 'user'
    | 'tenant'
    | 'integration'
    | 'authorization'
    | 'account'
    | 'delivery'
    | 'inbound_endpoint'
    | 'event'
    | 'tenant';
  tenantId: string;
  id: string;
};

/** A delivery became due that nobody has in hand. */
export const DELIVERY_DUE: Changed = { kind: 'delivery', tenantId: '-', id: 'due' };

type Handlers = { changed(change: Changed): void; missed(): void };

/**
 * Hears what other replicas changed, by LISTEN on a connection of its own. A query each second proves that it still hears: an answer comes after
 * every notification before it. When it has not heard for 5 s nothing cached is believed, and after a gap everything is dropped.
 */
export class ChangeListener {
  readonly #url: string;
  readonly #log: Log;
  readonly #handlers: Handlers;
  #client: Client | null = null;
  #heardAt = Number.NEGATIVE_INFINITY;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(url: string, log: Log, handlers: Handlers) {
    this.#url = url;
    this.#log = log;
    this.#handlers = handlers;
  }

  /** Whether changes are heard. */
  get up(): boolean {
    return this.#client !== null;
  }

  /** Whether cached values may be believed. */
  readonly trusted = (): boolean => performance.now() - this.#heardAt < BELIEVED_MS;

  async start(): Promise<void> {
    await this.#connect();
    this.#schedule(HEARTBEAT_MS);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    const client = this.#client;
    this.#client = null;
    await client?.end().catch(() => {});
  }

  #schedule(delayMs: number): void {
    if (this.#stopped) return;
    this.#timer = setTimeout(() => void this.#tick(), delayMs);
    this.#timer.unref();
  }

  async #tick(): Promise<void> {
    try {
      if (this.#client) await this.#heartbeat(this.#client);
      else await this.#connect();
    } catch (error) {
      this.#lost(error);
    }
    this.#schedule(this.#client ? HEARTBEAT_MS : RECONNECT_MS);
  }

  async #heartbeat(client: Client): Promise<void> {
    const askedAt = performance.now();
    await client.query('select 1');
    if (client === this.#client) this.#heardAt = askedAt;
  }

  async #connect(): Promise<void> {
    const client = new Client({
      connectionString: this.#url,
      application_name: 'latchkey-listen',
      connectionTimeoutMillis: ANSWER_MS,
      query_timeout: ANSWER_MS,
      keepAlive: true,
    });
    client.on('error', (error) => client === this.#client && this.#lost(error));
    client.on('notification', ({ payload }) => this.#hear(payload));
    const askedAt = performance.now();
    try {
      await client.connect();
      await client.query(`listen ${CHANNEL}`);
    } catch (error) {
      await client.end().catch(() => {});
      throw error;
    }
    this.#handlers.missed();
    this.#client = client;
    this.#heardAt = askedAt;
  }

  #lost(error: unknown): void {
    const client = this.#client;
    this.#client = null;
    if (!client) return;
    this.#log.warn({ err: error }, 'changes of other replicas are not heard; reconnecting');
    client.end().catch(() => {});
  }

  #hear(payload: string | undefined): void {
    const [kind, tenantId, id] = (payload ?? '').split(' ');
    if (kind && tenantId && id) this.#handlers.changed({ kind, tenantId, id } as Changed);
  }
}

/** The statement that tells every replica of changes when its transaction commits. */
export function notifyStatement(changes: readonly Changed[]): { sql: string; params: string[] } {
  const sql = `select ${changes.map(() => `pg_notify('${CHANNEL}', ?)`).join(', ')}`;
  return { sql, params: changes.map(({ kind, tenantId, id }) => `${kind} ${tenantId} ${id}`) };
}
