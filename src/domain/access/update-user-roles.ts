import { LatchkeyError } from '../../base/error.ts';
import { User } from '../../model/user.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import type { RoleName } from './permissions.ts';

/** Replaces the roles assigned to a user; those that come from groups stay. Fails with USER_NOT_FOUND. */
export function updateUserRoles(call: Call, userId: string, roles: RoleName[]): Promise<User> {
  const { tenantId } = call.principal;
  return change(call, async (em) => {
    const user = await em.findOne(User, { tenantId, id: userId });
    if (!user) throw new LatchkeyError('USER_NOT_FOUND', { metadata: { user_id: userId } });
    const before = user.summary();
    user.assignedRoles = roles;
    const resource = { type: 'user', id: userId };
    audit(em, call, 'user_roles_updated', resource, { before, after: user.summary() });
    event(em, call, 'user.roles_updated', { ...resource, generation: 1 }, { roles: user.roles() });
    announce(em, { kind: 'user', tenantId, id: userId });
    return user;
  });
}
