import { LatchkeyError } from '../../base/error.ts';
import { hot } from '../../db/hot.ts';
import type { Call } from '../call.ts';

/** For calls without an end: whether the credential that began it has ended meanwhile. Fails with CREDENTIALS_INVALID, and as `refuseUnlessEntitled` does. */
export async function refuseUnlessValid(call: Call): Promise<void> {
  if (call.principal.expiresAt <= call.app.clock.now()) throw new LatchkeyError('CREDENTIALS_INVALID');
  await refuseUnlessEntitled(call);
}

/**
 * For calls that last: whether nobody has taken back what let them begin. Fails with CREDENTIALS_INVALID where the key was revoked, or the user whom the credential names or acts for was
 * deleted, or the tenant; with RIGHTS_CHANGED where the user was assigned other roles.
 */
export async function refuseUnlessEntitled({ app, principal }: Call): Promise<void> {
  const { kind, tenantId, id, userId, assignedRoles = [] } = principal;
  if (kind === 'api_key') {
    const [key] = await hot<{ revoke_time: string | null }>(app.pool, 'readApiKey', [tenantId, id]);
    if (!key || key.revoke_time !== null) throw new LatchkeyError('CREDENTIALS_INVALID');
  }
  if (userId === null) return;
  const [user] = await hot<{ assigned_roles: string[] }>(app.pool, 'readUser', [tenantId, userId]);
  if (!user) throw new LatchkeyError('CREDENTIALS_INVALID');
  const sameRoles = assignedRoles.toSorted().join() === user.assigned_roles.toSorted().join();
  if (kind === 'user' && !sameRoles) throw new LatchkeyError('RIGHTS_CHANGED');
}
