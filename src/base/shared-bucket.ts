/** So many calls a second, and so many at once after a pause: at least 1 each. */
export type Rate = { perSecond: number; burst: number };
/** What a replica tells of its part since it last did, so many ms ago: calls that were taken, and calls a second that were asked for. */
export type Usage = { used: number; demand: number; ms: number };
/** What there is for all replicas together: tokens, below 0 where too many were taken, and calls a second that are asked for at all of them. */
export type Balance = { tokens: number; demand: number };

/** How often replicas settle a bucket that runs low, and one that does not. */
const LOW_MS = 100;
const FULL_MS = 1_000;
/** What was heard of the other replicas holds for so long. */
const HEARD_MS = 2_000;
/** How fast the demand of before is forgotten. */
const DEMAND_MS = 500;
const LEAST_SHARE = 0.001;
const LONGEST_WAIT_MS = 1_000;

/**
 * One replica's part of a token bucket that all share. It decides at once, by what it has: its share of the tokens there were, and of those that come. The share is its part of the demand; as long as
 * it does not hear of the others, one of so many replicas. What it takes is settled later, so that together they take what the bucket has, but for a moment's error, which the next settlement takes back.
 * Times are of a monotonic clock, in ms.
 */
export class SharedBucket {
  rate: Rate;
  readonly #replicas: () => number;
  #share: number;
  #tokens: number;
  #at: number;
  #used = 0;
  #asked = 0;
  #demand: number | null = null;
  #reportedAt: number;
  #heardAt = Number.NEGATIVE_INFINITY;

  /** @param replicas how many there are, for when nothing is heard of their demand */
  constructor(rate: Rate, replicas: () => number, now: number) {
    this.rate = rate;
    this.#replicas = replicas;
    this.#share = 1 / replicas();
    this.#tokens = this.#most();
    this.#at = now;
    this.#reportedAt = now;
  }

  /** In how many ms there is one for whoever asks; 0: now. */
  ask(now: number): number {
    this.#asked += 1;
    this.#refill(now);
    if (this.#tokens >= 1) return 0;
    // By then it has another share.
    return Math.min(LONGEST_WAIT_MS, ((1 - this.#tokens) * 1000) / (this.rate.perSecond * this.#share));
  }

  /** Takes one that there is. */
  take(): void {
    this.#tokens -= 1;
    this.#used += 1;
  }

  /** Whether it is time to settle. */
  isDue(now: number): boolean {
    if (this.#asked === 0 && this.#used === 0) return false;
    const low = this.#demand === null || this.#tokens < this.#most() / 2;
    return now - this.#reportedAt >= (low ? LOW_MS : FULL_MS) - 1;
  }

  /** Whether nobody has asked for so long that all there is to know is what a new one takes for granted. */
  isIdle(now: number): boolean {
    return this.#asked === 0 && this.#used === 0 && now - this.#reportedAt > FULL_MS;
  }

  /** What to tell. It counts as told; `give back` where it could not be. */
  report(now: number): Usage {
    const elapsedMs = Math.max(1, now - this.#reportedAt);
    const current = (this.#asked * 1000) / Math.min(elapsedMs, FULL_MS);
    const kept = this.#demand === null ? 0 : Math.exp(-elapsedMs / DEMAND_MS);
    this.#demand = (this.#demand ?? 0) * kept + current * (1 - kept);
    this.#reportedAt = now;
    const usage = { used: this.#used, demand: this.#demand, ms: Math.min(elapsedMs, FULL_MS) };
    this.#asked = 0;
    this.#used = 0;
    return usage;
  }

  giveBack({ used }: Usage): void {
    this.#used += used;
  }

  /** What came of it: tokens after what was told, and the demand with it. */
  settle({ tokens, demand }: Balance, own: Usage, now: number): void {
    const even = 1 / this.#replicas();
    const asked = demand > 0 ? Math.min(1, Math.max(LEAST_SHARE, own.demand / demand)) : even;
    // While there is enough for all, nobody is kept to little because they asked for little.
    this.#share = tokens > this.rate.burst / 2 ? Math.max(asked, even) : asked;
    this.#tokens = Math.min(this.#most(), tokens * this.#share) - this.#used;
    this.#at = now;
    this.#heardAt = now;
  }

  #refill(now: number): void {
    if (now - this.#heardAt > HEARD_MS) this.#share = 1 / this.#replicas();
    const come = ((now - this.#at) / 1000) * this.rate.perSecond * this.#share;
    this.#tokens = Math.min(this.#most(), this.#tokens + come);
    this.#at = now;
  }

  #most(): number {
    return Math.max(1, this.rate.burst * this.#share);
  }
}
