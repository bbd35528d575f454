import type { JsonObject } from '../../model/json.ts';

/** A lease that this process holds: what its attempt is sent and stored under. */
export type Lease = {
  epoch: number;
  attemptId: string;
  /** Monotonic, taken before the claim: the lease ends this much after at the earliest. */
  claimedAt: number;
  wallAt: number;
  fields: JsonObject;
  secrets: Record<string, string>;
  /** Another attempt with this refresh token was begun, and nobody knows how it ended. */
  afterUnresolved: boolean;
  /** How many attempts failed since the last success. */
  failures: number;
  /** A late answer brought a newer refresh token than the stored one, which that answer used up. */
  late: boolean;
  /** Refresh tokens that this attempt has sent. */
  sent: Set<string>;
};

/** Of refresh.md, all in the same unit: L, D, M, and the time since just before the claim. */
export type LeaseTimes = { elapsedMs: number; leaseMs: number; callMs: number; guardMs: number };

/** Whether a call that leaves now is over, the guard band included, before its lease ends. */
export function mayStillSend({ elapsedMs, leaseMs, callMs, guardMs }: LeaseTimes): boolean {
  return elapsedMs + callMs + guardMs <= leaseMs;
}
