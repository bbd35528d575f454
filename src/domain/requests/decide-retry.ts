import type { EgressFailure } from '../../egress/egress-error.ts';
import type { CallOutcome } from '../call.ts';

/** How an attempt ended. `sent` false: no byte of it left. */
export type Outcome = { status: number } | { failure: EgressFailure; sent: boolean };

export type RetrySituation = {
  outcome: Outcome;
  /** The same request twice does what it does once. */
  repeatable: boolean;
  /** Repeats so far. */
  repeats: number;
  retries: number;
  backoffMs: number;
  /** What the other side asks for, where it does. */
  askedMs: number | null;
  /** What is left of the time of the whole. */
  leftMs: number;
  /** 0 to 1. */
  random: number;
};

/** Timeout, too early, too many, and what servers say when they are in trouble (RFC 9110, section 15; RFC 6585; RFC 8470). */
const PASSING = new Set([408, 425, 429, 500, 502, 503, 504]);
/** A status above is of no class, and means the same as 500. */
const LAST_STATUS = 599;
/** Methods that are idempotent (RFC 9110, section 9.2.2). */
const IDEMPOTENT = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);
const LONGEST_PAUSE_MS = 30_000;
const JITTER = 0.2;

/** @param headers names and values */
export function isRepeatable(method: string, headers: readonly (readonly [string, string])[]): boolean {
  return IDEMPOTENT.has(method) || headers.some(([name]) => name.toLowerCase() === 'idempotency-key');
}

/** How long to wait before the next attempt, in ms; null: there is none. Waits double, ±20 %; what the other side asks for comes first. */
export function pauseBeforeRetry(situation: RetrySituation): number | null {
  const { outcome, repeatable, repeats, retries, backoffMs, askedMs, leftMs, random } = situation;
  if (repeats >= retries || !isPassing(outcome)) return null;
  if (!repeatable && !('sent' in outcome && !outcome.sent)) return null;
  const pauseMs = askedMs ?? backoffMs * 2 ** repeats * (1 - JITTER + 2 * JITTER * random);
  return pauseMs > LONGEST_PAUSE_MS || pauseMs >= leftMs ? null : pauseMs;
}

/** What an attempt counts as in the connection's usage. */
export function usageOf(outcome: Outcome): CallOutcome {
  if (!('status' in outcome)) return 'error';
  if (outcome.status === 429) return 'rate_limited';
  return outcome.status >= 400 ? 'error' : 'ok';
}

function isPassing(outcome: Outcome): boolean {
  if ('status' in outcome) return PASSING.has(outcome.status) || outcome.status > LAST_STATUS;
  return outcome.failure === 'connect' || outcome.failure === 'reset' || outcome.failure === 'timeout';
}
