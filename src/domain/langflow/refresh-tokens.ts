import { accountTokens } from '../accounts/account-tokens.ts';
import type { Call } from '../call.ts';
import { LANGFLOW } from './with-key.ts';

/** Renews the tokens of the caller's account. Answers when the new access token ends; null: it says no end. */
export async function refreshTokens(call: Call): Promise<Date | null> {
  const { expireTime } = await accountTokens(call, LANGFLOW, { minValidForMs: null, force: true });
  return expireTime;
}
