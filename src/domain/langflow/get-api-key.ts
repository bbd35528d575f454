import { usableConnection } from '../accounts/account-tokens.ts';
import { ensureAccount } from '../accounts/ensure-account.ts';
import { auditRead } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { LANGFLOW } from './with-key.ts';

/** The key of the caller's account. Fails with AUDIT_UNAVAILABLE, too. */
export async function getApiKey(call: Call): Promise<{ apiKey: string; baseUrl: string }> {
  const { account, instance } = await ensureAccount(call, LANGFLOW);
  const { secrets } = await usableConnection(call.app, account);
  await auditRead(call, 'account_key_read', { type: 'account', id: account.id });
  return { apiKey: secrets.key!, baseUrl: instance.baseUrl };
}
