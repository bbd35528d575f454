import type { OAuthFailure } from '../../oauth/oauth-error.ts';

/**
 * What a failed refresh leads to (refresh.md, "What an answer means").
 * - `reauthorize`: the grant is dead; a person must act.
 * - `reauthorize_unknown`: the same, and an attempt before it may have used the token up unseen.
 * - `misconfigured`: the client, not the connection, is at fault.
 * - `wait`: it passes.
 */
export type Verdict = 'reauthorize' | 'reauthorize_unknown' | 'misconfigured' | 'wait';

/** `afterUnresolved`: an attempt with this token was begun before, and nobody knows how it ended. */
export function judgeAnswer(failure: OAuthFailure, afterUnresolved: boolean): Verdict {
  if (failure === 'grant_dead' || failure === 'denied') return afterUnresolved ? 'reauthorize_unknown' : 'reauthorize';
  return failure === 'misconfigured' ? 'misconfigured' : 'wait';
}

const FIRST_PAUSE_MS = 2_000;
const LONGEST_PAUSE_MS = 300_000;
const MISCONFIGURED_PAUSE_MS = 60_000;

/** How long to leave a token endpoint alone: full jitter over doubling pauses, what the provider asks for, a minute where the client must be mended. */
export function pauseMs(verdict: Verdict, failures: number, retryAfterMs: number | undefined, random: number): number {
  if (verdict === 'misconfigured') return MISCONFIGURED_PAUSE_MS;
  const doubled = Math.min(FIRST_PAUSE_MS * 2 ** Math.min(failures, 20), LONGEST_PAUSE_MS);
  return Math.max(retryAfterMs ?? 0, Math.ceil(FIRST_PAUSE_MS / 2 + (doubled - FIRST_PAUSE_MS / 2) * random));
}
