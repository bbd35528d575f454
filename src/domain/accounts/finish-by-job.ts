import { enqueue } from '../../db/jobs.ts';
import type { Em } from '../../db/transaction.ts';
import type { ProviderAccount } from '../../model/provider-account.ts';
import type { App } from '../call.ts';

const AFTER_MS = 20_000;

/** Has a job go on with an account, should what is begun now be interrupted. */
export function finishByJob(em: Em, { clock }: App, { tenantId, id }: Pick<ProviderAccount, 'tenantId' | 'id'>) {
  return enqueue(em, 'finish_account', { tenantId, id }, { runAt: new Date(clock.now() + AFTER_MS) });
}
