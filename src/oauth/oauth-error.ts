/**
 * What a failed step means.
 * - `grant_dead`: a person must grant access again.
 * - `denied`: the person or the provider declined.
 * - `misconfigured`: our registration, its secret or what we ask for is wrong.
 * - `pending`, `slow_down`: the person has not decided yet (RFC 8628, section 3.5).
 * - `rate_limited`, `unavailable`: it passes by itself.
 * - `refused`: the answer is one that cannot be trusted or understood.
 */
export type OAuthFailure =
  | 'grant_dead'
  | 'denied'
  | 'misconfigured'
  | 'pending'
  | 'slow_down'
  | 'rate_limited'
  | 'unavailable'
  | 'refused';

type Details = {
  /** The provider's error code, harmless to show: letters, digits and a few signs, at most 100. */
  code?: string;
  /** HTTP status, where there was one. */
  status?: number;
  retryAfterMs?: number;
  /** There was no answer: the request never left, or nobody knows what became of it. */
  unanswered?: 'not_sent' | 'unknown';
  cause?: unknown;
};

/** A step of OAuth that failed. Its text carries no secret. */
export class OAuthError extends Error {
  readonly failure: OAuthFailure;
  readonly code: string;
  readonly status: number | undefined;
  readonly retryAfterMs: number | undefined;
  readonly unanswered: 'not_sent' | 'unknown' | undefined;

  constructor(failure: OAuthFailure, message: string, details: Details = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'OAuthError';
    this.failure = failure;
    this.code = harmless(details.code ?? '');
    this.status = details.status;
    this.retryAfterMs = details.retryAfterMs;
    this.unanswered = details.unanswered;
  }
}

/** A provider's error code as it may be shown and stored. */
export function harmless(code: string): string {
  return code.replace(/[^A-Za-z0-9_.-]/g, '').slice(0, 100);
}
