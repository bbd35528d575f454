import { LatchkeyError } from '../../base/error.ts';
import { isPassing } from '../../base/reasons.ts';
import { ProviderAccount } from '../../model/provider-account.ts';
import { behaviourOf } from '../../providers/behaviours.ts';
import { systemCall } from '../access/principal.ts';
import type { App } from '../call.ts';
import { changeIn } from '../change.ts';
import { instanceFor } from '../integrations/provider-instance.ts';
import { completeAccount } from './complete-account.ts';
import { removeAccount } from './remove-account.ts';

const TRIED_FOR_MS = 24 * 3_600_000;
const LEAST_PAUSE_MS = 20_000;
/** A pause is this part of the time that has gone by: an instance that is away for long is asked seldom. */
const PAUSE_SHARE = 0.2;
/** Others wait for the same few workers. */
const LONGEST_WAIT_MS = 1_000;

/** Goes on with an account that is half made or half removed. Answers in how many ms to try again; null: it is done, gone, or of no use to try. */
export async function finishAccount(app: App, tenantId: string, id: string): Promise<number | null> {
  const account = await changeIn(app, tenantId, (em) => em.findOne(ProviderAccount, { tenantId, id }));
  if (!account || (account.status === 'ACTIVE' && account.userService !== 'STALE')) return null;
  try {
    const instance = await instanceFor(app, tenantId, account.provider);
    if (instance.baseUrl !== account.baseUrl) return null;
    const call = { ...systemCall(app, tenantId), signal: AbortSignal.timeout(LONGEST_WAIT_MS) };
    if (account.status === 'DELETING') await removeAccount(call, id, instance);
    else await completeAccount(call, id, { behaviour: behaviourOf(account.provider), instance, occasion: 'use' });
    return null;
  } catch (error) {
    app.log.warn({ err: error, accountId: id }, 'an account is not finished yet');
    const sinceMs = app.clock.now() - account.updateTime.getTime();
    if (sinceMs > TRIED_FOR_MS || !(error instanceof LatchkeyError) || !passes(error)) return null;
    return Math.max(error.retryAfterMs ?? 0, LEAST_PAUSE_MS, sinceMs * PAUSE_SHARE);
  }
}

function passes({ reason }: LatchkeyError): boolean {
  return isPassing(reason) || reason === 'USER_SERVICE_UNAVAILABLE' || reason === 'DATABASE_UNAVAILABLE';
}
