import { LatchkeyError } from '../../base/error.ts';
import { isPassing } from '../../base/reasons.ts';
import { ProviderAccount } from '../../model/provider-account.ts';
import { behaviourOf } from '../../providers/behaviours.ts';
import { systemCall } from '../access/principal.ts';
import type { App } from '../call.ts';
import { changeIn } from '../change.ts';
import { instanceFor } from '../integrations/provider-instance.ts';
import { completeAccount } from './complete-account.ts';

const TRIED_FOR_MS = 24 * 3_600_000;
const AGAIN_MS = 20_000;

/** Goes on with an account that nobody waits for. Answers in how many ms to try again; null: it is done, gone, or of no use to try. */
export async function finishAccount(app: App, tenantId: string, id: string): Promise<number | null> {
  const account = await changeIn(app, tenantId, (em) => em.findOne(ProviderAccount, { tenantId, id }));
  if (!account || account.status === 'DELETING' || (account.status === 'ACTIVE' && account.reported)) return null;
  try {
    const instance = await instanceFor(app, tenantId, account.provider);
    if (instance.baseUrl !== account.baseUrl) return null;
    const completion = { behaviour: behaviourOf(account.provider), instance, suspect: false };
    await app.refreshes.hold(() => completeAccount(systemCall(app, tenantId), id, completion));
    return null;
  } catch (error) {
    app.log.warn({ err: error, accountId: id }, 'an account is not finished yet');
    const old = app.clock.now() - account.createTime.getTime() > TRIED_FOR_MS;
    return old || !passes(error) ? null : Math.max((error as LatchkeyError).retryAfterMs ?? 0, AGAIN_MS);
  }
}

function passes(error: unknown): boolean {
  return error instanceof LatchkeyError && (isPassing(error.reason) || error.reason === 'USER_SERVICE_UNAVAILABLE');
}
