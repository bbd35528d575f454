import { LatchkeyError } from '../../base/error.ts';
import { IntegrityError } from '../../crypto/sealed-value.ts';
import { ProviderAccount } from '../../model/provider-account.ts';
import { systemCall } from '../access/principal.ts';
import { finishAccount } from '../accounts/finish-account.ts';
import { holdAccount } from '../accounts/hold-account.ts';
import { endUse, removeAccount } from '../accounts/remove-account.ts';
import type { App } from '../call.ts';
import { changeIn, read } from '../change.ts';
import type { Leaving } from './remove-connections.ts';

const MOST_AT_ONCE = 20;
/** Somebody may be at an account; other jobs wait for the same few workers. */
const LONGEST_WAIT_MS = 1_000;
const BUSY_MS = 5_000;

/**
 * Deletes some of the accounts that were made at providers, here and there: their use ends first. What a provider does not take within a day, or cannot take, is forgotten here alone.
 * Answers in how many ms to go on; null: none are left.
 */
export async function removeAccounts(app: App, { tenantId, ownerUserId }: Leaving): Promise<number | null> {
  // By chance: those that fail keep no others waiting.
  const found = await read(systemCall(app, tenantId), (em) =>
    em.execute<{ id: string }[]>(
      `select id from latchkey.provider_account where tenant_id = ? and (cast(? as text) is null or owner_user_id = ?) order by random() limit ?`,
      [tenantId, ownerUserId ?? null, ownerUserId ?? null, MOST_AT_ONCE + 1],
    ),
  );
  const pauses: number[] = [];
  for (const { id } of found.slice(0, MOST_AT_ONCE)) {
    const pauseMs = await removeOne(app, tenantId, id);
    if (pauseMs !== null) pauses.push(pauseMs);
  }
  if (pauses.length > 0) return Math.min(...pauses);
  return found.length > MOST_AT_ONCE ? 0 : null;
}

/** Answers in how many ms to try again; null: it is gone. */
async function removeOne(app: App, tenantId: string, id: string): Promise<number | null> {
  const call = { ...systemCall(app, tenantId), signal: AbortSignal.timeout(LONGEST_WAIT_MS) };
  try {
    await holdAccount(call, id, (held) => endUse(call, held));
    const againInMs = await finishAccount(app, tenantId, id);
    if (againInMs !== null) return againInMs;
    await removeAccount(call, id, null);
    return null;
  } catch (error) {
    if (error instanceof IntegrityError) return forget(app, tenantId, id, error);
    if (!(error instanceof LatchkeyError)) throw error;
    if (error.reason === 'ACCOUNT_NOT_FOUND') return null;
    app.log.warn({ err: error, accountId: id }, 'an account of somebody who was deleted is not deleted yet');
    return Math.max(error.retryAfterMs ?? 0, BUSY_MS);
  }
}

/** One whose secrets do not open cannot be deleted at its provider, and keeps nothing else waiting. */
async function forget(app: App, tenantId: string, id: string, error: IntegrityError): Promise<null> {
  app.metrics.integrityFailures.inc();
  app.log.error(
    { err: error, accountId: id },
    'an account of somebody who was deleted does not open; it is forgotten here alone',
  );
  await changeIn(app, tenantId, (em) => em.nativeDelete(ProviderAccount, { tenantId, id }));
  return null;
}
