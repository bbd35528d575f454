/** Where the time comes from, so that a test can step it. */
export type Clock = {
  /** Wall clock, ms since the epoch. */
  now(): number;
  /** Monotonic clock, ms since an arbitrary instant. */
  monotonic(): number;
};

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};
