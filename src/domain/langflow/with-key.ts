import type { Langflow } from '../../clients/langflow/langflow.ts';
import { type LangflowContext, LangflowError, langflowFailure } from '../../clients/langflow/langflow-error.ts';
import { langflowAt } from '../../providers/langflow/behaviour.ts';
import { usableConnection } from '../accounts/account-tokens.ts';
import { ensureAccount } from '../accounts/ensure-account.ts';
import type { Call } from '../call.ts';

export const LANGFLOW = 'langflow';

/** Where and with what the caller's account is used. */
export type LangflowKey = { langflow: Langflow; key: string; integrationId: string | null; userId: string };

/** The key of the caller's account, which is made where there is none. `suspect`: it was refused. Fails as `ensureAccount` does, and with CONNECTION_DISABLED. */
export async function keyOf(call: Call, { suspect = false } = {}): Promise<LangflowKey> {
  const { account, instance } = await ensureAccount(call, LANGFLOW, { suspect });
  const { tenantId, connectionId, secrets } = await usableConnection(call.app, account);
  call.app.readAudit.used(tenantId, connectionId);
  const { integrationId } = instance;
  return { langflow: langflowAt(instance), key: secrets.key!, integrationId, userId: account.remoteId };
}

/**
 * Does `work` as the caller's account. Where Langflow refuses the key, and that no longer works, the account gets another and the work is done with
 * that: what was refused has done nothing. Nothing else is sent twice. Fails with what `langflowFailure` makes of it.
 */
export async function withKey<T>(
  call: Call,
  context: LangflowContext,
  work: (access: LangflowKey) => Promise<T>,
): Promise<T> {
  const access = await keyOf(call);
  const failed = (error: unknown) => langflowFailure(error, { ...context, integrationId: access.integrationId });
  try {
    return await work(access);
  } catch (error) {
    if (!isKeyRefused(error)) throw failed(error);
    const mended = await keyOf(call, { suspect: true });
    if (mended.key === access.key) throw failed(error);
    return work(mended).catch((second: unknown) => Promise.reject(failed(second)));
  }
}

function isKeyRefused(error: unknown): boolean {
  return error instanceof LangflowError && error.access === 'user' && (error.status === 401 || error.status === 403);
}
