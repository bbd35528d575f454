import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { ProviderAccount } from '../../model/provider-account.ts';
import type { ProviderInstance } from '../../providers/behaviour.ts';
import type { Permission } from '../access/permissions.ts';
import type { Call } from '../call.ts';
import { canSee } from '../connections/visibility.ts';

/** The caller's account at an instance; null: there is none. */
export function accountOf(
  em: Em,
  { principal }: Call,
  { provider, baseUrl }: Pick<ProviderInstance, 'provider' | 'baseUrl'>,
): Promise<ProviderAccount | null> {
  const { tenantId, userId } = principal;
  return em.findOne(ProviderAccount, { tenantId, provider, baseUrl, ownerUserId: userId });
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
  const own = account.ownerUserId !== null && account.ownerUserId === principal.userId;
  if (principal.permissions.has(permission) || (own && principal.ownPermissions.has(permission))) return account;
  throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission } });
}

/** ACCOUNT_NOT_FOUND, the same whether the account is absent or somebody else's. */
export function accountNotFound(id: string): LatchkeyError {
  return new LatchkeyError('ACCOUNT_NOT_FOUND', { metadata: { account_id: id } });
}
