import { auditRead } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { keyOf } from './with-key.ts';

/** The key of the caller's account. Fails with AUDIT_UNAVAILABLE, too. */
export async function getApiKey(call: Call): Promise<{ apiKey: string; baseUrl: string }> {
  const { key, baseUrl, accountId } = await keyOf(call);
  await auditRead(call, 'account_key_read', { type: 'account', id: accountId });
  return { apiKey: key, baseUrl };
}
