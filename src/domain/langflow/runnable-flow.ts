import { LatchkeyError } from '../../base/error.ts';
import { isRefused, langflowFailure } from '../../clients/langflow/langflow-error.ts';
import type { Call } from '../call.ts';
import type { LangflowKey } from './with-key.ts';

/** Runs under way at once, in this process. */
const MOST_OF_TENANT = 64;
const RETRY_AFTER_MS = 1_000;

/** Refuses flows that are not the account's: before 1.7 Langflow runs anybody's for any key (#10202). What was seen a moment ago is believed. Fails with FLOW_NOT_FOUND. */
export async function refuseForeignFlow(call: Call, access: LangflowKey, flowId: string): Promise<void> {
  const key = `${access.accountId} ${flowId}`;
  const { ownFlows } = call.app;
  if (ownFlows.has(key)) return;
  try {
    await access.langflow.getFlow(access.key, flowId, call.signal);
  } catch (error) {
    // The key may be dead: `withKey` finds out.
    if (isRefused(error)) throw error;
    throw langflowFailure(error, { operation: 'flow', flowId, integrationId: access.integrationId });
  }
  ownFlows.add(key);
}

/** Holds one of the tenant's runs until `done` is called. Fails with OVERLOADED. */
export function takeRun({ app, principal }: Call): { done(): void } {
  const slot = app.flowRuns.take(principal.tenantId, MOST_OF_TENANT);
  if (!slot) throw new LatchkeyError('OVERLOADED', { retryAfterMs: RETRY_AFTER_MS });
  return slot;
}
