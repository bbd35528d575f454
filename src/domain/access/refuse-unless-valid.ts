import { LatchkeyError } from '../../base/error.ts';
import { hot } from '../../db/hot.ts';
import type { Call } from '../call.ts';

/**
 * For calls that last: whether who began it may go on. Fails with CREDENTIALS_INVALID where the credential has ended meanwhile, the user it names or acts for was deleted, or the tenant
 * is; with RIGHTS_CHANGED where the user was assigned other roles.
 */
export async function refuseUnlessValid({ app, principal }: Call): Promise<void> {
  const { kind, tenantId, id, userId, expiresAt, assignedRoles = [] } = principal;
  if (expiresAt <= app.clock.now()) throw new LatchkeyError('CREDENTIALS_INVALID');
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
