import { LatchkeyError } from '../../base/error.ts';
import { isPassing } from '../../base/reasons.ts';
import { ProviderAccount } from '../../model/provider-account.ts';
import type { ProviderInstance } from '../../providers/behaviour.ts';
import { systemCall } from '../access/principal.ts';
import type { App, Call } from '../call.ts';
import { changeIn } from '../change.ts';
import { instanceFor } from '../integrations/provider-instance.ts';

/** Other jobs wait for the same few workers. */
const LONGEST_WAIT_MS = 1_000;
const TRIED_FOR_MS = 24 * 3_600_000;
const LEAST_PAUSE_MS = 20_000;
/** A pause is this part of the time that has gone by: an instance that is away for long is asked seldom. */
const PAUSE_SHARE = 0.2;

/** What a job does with an account, where that is still wanted. */
export type AccountJob = {
  isWanted(account: ProviderAccount): boolean;
  work(call: Call, account: ProviderAccount, instance: ProviderInstance): Promise<unknown>;
};

/** Tries what nobody waits for. Answers in how many ms to try again, for a day; null: it is done, not wanted, or of no use to try. */
export async function attemptAccount(
  app: App,
  tenantId: string,
  id: string,
  { isWanted, work }: AccountJob,
): Promise<number | null> {
  const account = await changeIn(app, tenantId, (em) => em.findOne(ProviderAccount, { tenantId, id }));
  if (!account || !isWanted(account)) return null;
  try {
    const instance = await instanceFor(app, tenantId, account.provider);
    if (instance.baseUrl !== account.baseUrl) return null;
    await work({ ...systemCall(app, tenantId), signal: AbortSignal.timeout(LONGEST_WAIT_MS) }, account, instance);
    return null;
  } catch (error) {
    app.log.warn({ err: error, accountId: id }, 'a job at an account is not done yet');
    const sinceMs = app.clock.now() - account.updateTime.getTime();
    if (sinceMs > TRIED_FOR_MS || !(error instanceof LatchkeyError) || !passes(error)) return null;
    return Math.max(error.retryAfterMs ?? 0, LEAST_PAUSE_MS, sinceMs * PAUSE_SHARE);
  }
}

function passes({ reason }: LatchkeyError): boolean {
  return isPassing(reason) || reason === 'USER_SERVICE_UNAVAILABLE' || reason === 'DATABASE_UNAVAILABLE';
}
