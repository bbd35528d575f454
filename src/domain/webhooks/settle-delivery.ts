import { newId } from '../../base/id.ts';
import type { DeliveryAttempt } from '../../model/delivery.ts';
import type { DeliveryOutcome, LeasedDelivery } from '../deliveries.ts';
import type { Verdict } from './judge-attempt.ts';
import { pauseAfter } from './schedule.ts';

/** Pause before what could not be tried is tried again. */
const RELEASED_MS = 1_000;

/** What becomes of a delivery after an attempt. @param random from 0 to below 1 */
export function settleDelivery(
  delivery: LeasedDelivery,
  verdict: Verdict,
  attempt: DeliveryAttempt,
  random: number,
): DeliveryOutcome {
  const { id, epoch } = delivery;
  const made = { ...{ id, epoch }, attempt, error: verdict.error, event: null, waitMs: 0 };
  if (verdict.next === 'succeeded') return { ...made, status: 'SUCCEEDED' };
  if (verdict.next === 'release') return { ...released(delivery, RELEASED_MS), error: verdict.error };
  const attempts = delivery.attemptCount + 1;
  if (verdict.next === 'retry' && attempts < delivery.maxAttempts) {
    const waitMs = pauseAfter(attempts, delivery, verdict.retryAfterMs, random);
    return { ...made, status: 'PENDING', waitMs };
  }
  // An event that fails tells of no event, which would be sent to the same endpoint: that it fails is the endpoint's to say.
  const event = delivery.purpose === 'webhook' ? failedEvent(delivery, verdict, attempt, attempts) : null;
  return { ...made, status: 'FAILED', event };
}

/** Gives a delivery back as it was. */
export function released({ id, epoch }: LeasedDelivery, waitMs: number): DeliveryOutcome {
  return { id, epoch, status: 'PENDING', waitMs, attempt: null, error: '', event: null };
}

function failedEvent(
  { connectionId, host }: LeasedDelivery,
  { error }: Verdict,
  { time, durationMs, statusCode }: DeliveryAttempt,
  attempts: number,
): DeliveryOutcome['event'] {
  const payload = { connection_id: connectionId, host, error, status_code: statusCode, attempts };
  return { id: newId('evt', time + durationMs), type: 'webhook.failed', payload };
}
