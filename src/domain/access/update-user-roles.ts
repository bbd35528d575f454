import type { User } from '../../model/user.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { lockAdministrators, refuseLastAdministrator } from './administrators.ts';
import { lockUser } from './find-user.ts';
import type { RoleName } from './permissions.ts';

/** Replaces the roles assigned to a user; those that come from groups stay. Fails with USER_NOT_FOUND, ETAG_MISMATCH, LAST_ADMINISTRATOR. */
export function updateUserRoles(call: Call, userId: string, etag: string, roles: RoleName[]): Promise<User> {
  const { tenantId } = call.principal;
  return change(call, async (em) => {
    await lockAdministrators(em, tenantId);
    const user = await lockUser(em, tenantId, userId, etag);
    const before = user.summary();
    const wasAdministrator = user.isAdministrator();
    user.assignedRoles = roles;
    if (wasAdministrator && !user.isAdministrator()) await refuseLastAdministrator(em, user);
    user.version += 1;
    audit(em, call, 'user_roles_updated', { type: 'user', id: userId }, { before, after: user.summary() });
    event(em, call, 'user.roles_updated', user.aggregate(), { roles: user.roles() });
    announce(em, { kind: 'user', tenantId, id: userId });
    return user;
  });
}
