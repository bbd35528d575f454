import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { findUser } from '../access/find-user.ts';
import type { Call } from '../call.ts';

/**
 * Who owns a new connection. Only administrators make connections that another user owns. Who acts on their own alone, and a key that acts for a
 * user, makes that user's. Fails with PERMISSION_MISSING.
 */
export function ownerFor({ principal }: Call, requested: string | null): string | null {
  const { userId, permissions } = principal;
  const ownAlone = !permissions.has('connection:create');
  const owner = requested ?? (ownAlone || principal.kind === 'api_key' ? userId : null);
  const others = owner !== userId && (ownAlone || (owner !== null && !principal.administrator));
  if (others || (ownAlone && owner === null)) {
    throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: 'connection:create' } });
  }
  return owner;
}

/** Fails with USER_NOT_FOUND. */
export async function refuseUnknownUser(em: Em, tenantId: string, userId: string | null): Promise<void> {
  if (userId) await findUser(em, tenantId, userId);
}

/** Refuses who may make connections neither for the tenant nor for themselves. Fails with PERMISSION_MISSING. */
export function refuseUnlessMayCreate({ principal }: Call): void {
  const permission = 'connection:create';
  if (principal.permissions.has(permission) || principal.ownPermissions.has(permission)) return;
  throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission } });
}
