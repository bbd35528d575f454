import type { Langflow } from '../../clients/langflow/langflow.ts';
import { isRefused, type LangflowContext, langflowFailure } from '../../clients/langflow/langflow-error.ts';
import { langflowAt } from '../../providers/langflow/behaviour.ts';
import { openState } from '../accounts/account-state.ts';
import { usableConnection } from '../accounts/account-tokens.ts';
import type { Occasion } from '../accounts/complete-account.ts';
import { ensureAccount } from '../accounts/ensure-account.ts';
import type { Call } from '../call.ts';

export const LANGFLOW = 'langflow';

/** Where and with what the caller's account is used. */
export type LangflowKey = {
  langflow: Langflow;
  key: string;
  accountId: string;
  /** At Langflow. */
  userId: string;
  baseUrl: string;
  integrationId: string | null;
};

/** The key of the caller's account, which is made where there is none. Fails as `ensureAccount` does, and with CONNECTION_DISABLED, REAUTHORIZATION_REQUIRED. */
export async function keyOf(call: Call, occasion: Occasion = 'use'): Promise<LangflowKey> {
  const { account, instance } = await ensureAccount(call, LANGFLOW, occasion);
  const { tenantId, connectionId } = await usableConnection(call.app, account);
  call.app.readAudit.used(tenantId, connectionId);
  // The connection's own credential is its owner's to change.
  const { apiKey: key } = await openState(call.app, account);
  const { integrationId, baseUrl } = instance;
  return {
    langflow: langflowAt(instance),
    key,
    accountId: account.id,
    userId: account.remoteId,
    baseUrl,
    integrationId,
  };
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
    if (!isRefused(error)) throw failed(error);
    const mended = await keyOf(call, 'suspect');
    if (mended.key === access.key) throw failed(error);
    return work(mended).catch((second: unknown) => Promise.reject(failed(second)));
  }
}
