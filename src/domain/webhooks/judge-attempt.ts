import { isPassing, type Reason } from '../../base/reasons.ts';
import type { EgressFailure } from '../../egress/egress-error.ts';
import type { DeliveryPurpose } from '../../model/delivery.ts';

/** How an attempt went: it was answered, it failed on the way, or it could not be made; `abandoned`: so many began and had no outcome that it is not made any more. */
export type AttemptResult =
  | { kind: 'answered'; status: number; retryAfterMs: number | null }
  | { kind: 'failed'; failure: EgressFailure }
  | { kind: 'refused'; reason: Reason }
  | { kind: 'abandoned' };

/** What an attempt means for its delivery, and what it says of the destination. */
export type Verdict = {
  next: 'succeeded' | 'retry' | 'give_up' | 'release';
  /** What is shown: `status`, a failure on the way, `abandoned`, or a reason of the contract in its own spelling. Empty where it succeeded. */
  error: string;
  /** Least wait that the other side asked for, in ms. */
  retryAfterMs: number;
  /** Whether the destination did its part; null: it was not asked. */
  destinationWell: boolean | null;
  /** It said that it is not there any more. */
  gone: boolean;
};

/** 4xx that pass by themselves: timeout, conflict, too early, too many. */
const PASSING_STATUSES = [408, 409, 425, 429];
/** The database is ours: its absence is no attempt. */
const OURS: readonly Reason[] = ['DATABASE_UNAVAILABLE', 'AUDIT_UNAVAILABLE', 'SHUTTING_DOWN'];

/** Only 2xx is success, and no redirect is followed. 410 ends it; other 4xx and what cannot pass by itself do, unless it is an event: those are sent for as long as their endpoint is enabled. */
export function judgeAttempt(result: AttemptResult, purpose: DeliveryPurpose): Verdict {
  const verdict = { error: '', retryAfterMs: 0, destinationWell: null, gone: false };
  const persistent = purpose === 'event';
  if (result.kind === 'answered') {
    const { status } = result;
    if (status >= 200 && status < 300) return { ...verdict, next: 'succeeded', destinationWell: true };
    const gone = status === 410;
    const passing = status >= 500 || PASSING_STATUSES.includes(status) || (persistent && !gone);
    return {
      ...{ next: passing ? 'retry' : 'give_up', error: 'status', destinationWell: status < 500 && status !== 429 },
      ...{ retryAfterMs: result.retryAfterMs ?? 0, gone },
    };
  }
  if (result.kind === 'failed') {
    const { failure } = result;
    // We broke it off ourselves: the process stops.
    if (failure === 'aborted') return { ...verdict, next: 'release', error: failure };
    // What answers too much has taken it.
    if (failure === 'too_large' && !persistent)
      return { ...verdict, next: 'give_up', error: failure, destinationWell: true };
    return { ...verdict, next: 'retry', error: failure, destinationWell: false };
  }
  if (result.kind === 'abandoned') return { ...verdict, next: 'give_up', error: 'abandoned' };
  const { reason } = result;
  if (OURS.includes(reason)) return { ...verdict, next: 'release', error: reason };
  const passing = isPassing(reason) || (persistent && reason === 'ADDRESS_FORBIDDEN');
  return { ...verdict, next: passing ? 'retry' : 'give_up', error: reason };
}
