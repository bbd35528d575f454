import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { Connection } from '../../model/connection.ts';
import { ProviderAccount } from '../../model/provider-account.ts';
import type { ProviderInstance } from '../../providers/behaviour.ts';
import type { Permission } from '../access/permissions.ts';
import type { Call } from '../call.ts';
import { canSee, refuseUnlessPermitted } from '../connections/visibility.ts';

/** The caller's account at an instance; null: there is none. */
export function accountOf(
  em: Em,
  { principal }: Call,
  { provider, baseUrl }: Pick<ProviderInstance, 'provider' | 'baseUrl'>,
): Promise<ProviderAccount | null> {
  const { tenantId, userId } = principal;
  return em.findOne(ProviderAccount, { tenantId, provider, baseUrl, ownerUserId: userId });
}

/** The connection that an account can be used by; null: there is none, or none any more. */
export function connectionOf(em: Em, { tenantId, connectionId }: ProviderAccount): Promise<Connection | null> {
  return connectionId ? em.findOne(Connection, { tenantId, id: connectionId }) : Promise.resolve(null);
}

/** An account that the caller may act on so. Fails with ACCOUNT_NOT_FOUND, PERMISSION_MISSING. */
export async function findAccount(
  em: Em,
  { principal }: Call,
  id: string,
  permission: Permission,
): Promise<ProviderAccount> {
  const account = await em.findOne(ProviderAccount, { tenantId: principal.tenantId, id });
  const owned = account && { ownerUserId: account.ownerUserId, projectId: null };
  if (!account || !owned || !canSee(principal, permission, owned)) throw accountNotFound(id);
  refuseUnlessPermitted(principal, permission, owned);
  return account;
}

/** ACCOUNT_NOT_FOUND, the same whether the account is absent or somebody else's. */
export function accountNotFound(id: string): LatchkeyError {
  return new LatchkeyError('ACCOUNT_NOT_FOUND', { metadata: { account_id: id } });
}
