import type { ReadEntry } from '../model/audit-entry.ts';
import type { DeliveryPurpose, DeliveryStatus } from '../model/delivery.ts';
import type { JsonObject } from '../model/json.ts';

/** Sends what is to reach somebody else at least once. */
export type Deliveries = {
  /** Stores a delivery, and sends it at once where there is room, else in its turn. Resolves when it is stored. */
  accept(delivery: NewDelivery): Promise<void>;
  /** Says that a delivery is due that was stored otherwise. */
  look(): void;
};

/** A delivery to be stored: what to send, and the rest of its row. */
export type NewDelivery = {
  task: DeliveryTask;
  /** Of `task.request`. */
  sealed: Buffer;
  ownerUserId: string | null;
  projectId: string | null;
  /** Of who asked for it. */
  audit: ReadEntry & { after: JsonObject };
};

/** What to send, open. */
export type DeliveryTask = {
  tenantId: string;
  id: string;
  /** The other side knows it by this, the same at each attempt. */
  messageId: string;
  purpose: DeliveryPurpose;
  /** Whose credential is put in when it is sent; null: none. */
  connectionId: string | null;
  /** Whose secrets sign it; empty: it is not signed. Of an event: the endpoint, which also says where it goes. */
  signedBy: string;
  /** Host and port of the destination. */
  host: string;
  /** Those of one lane share their limits: a number made of the destination. */
  lane: number;
  method: string;
  request: DeliveryRequest;
  timeoutMs: number;
  backoffMs: number;
  maxAttempts: number;
  attemptCount: number;
  /** Somebody waits for the outcome. */
  awaited: boolean;
};

export type DeliveryRequest = {
  /** Whole, or a path below the base URL of the connection. Of an event: empty. */
  url: string;
  headers: [string, string][];
  /** Null: none. */
  body: string | null;
};

/** A delivery that this process has leased. */
export type LeasedDelivery = DeliveryTask & {
  /** Names the lease: who lost it writes nothing. */
  epoch: number;
  /** In ms of the monotonic clock; nothing is sent after it. */
  leaseEnd: number;
};

/** What became of a lease. */
export type DeliveryOutcome = {
  id: string;
  epoch: number;
  status: Extract<DeliveryStatus, 'PENDING' | 'SUCCEEDED' | 'FAILED'>;
  /** Until the next attempt. */
  waitMs: number;
  /** Null: none was made. */
  attempt: JsonObject | null;
  error: string;
  event: { id: string; type: string; payload: JsonObject } | null;
};
