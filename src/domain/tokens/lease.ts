/** Of refresh.md, all in the same unit: L, D, M, and the time since just before the claim. */
export type LeaseTimes = { elapsedMs: number; leaseMs: number; callMs: number; guardMs: number };

/** Whether a call that leaves now is over, the guard band included, before its lease ends. */
export function mayStillSend({ elapsedMs, leaseMs, callMs, guardMs }: LeaseTimes): boolean {
  return elapsedMs + callMs + guardMs <= leaseMs;
}
