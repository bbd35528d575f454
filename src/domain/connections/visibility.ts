import { LatchkeyError } from '../../base/error.ts';
import { type Conditions, oneOf } from '../../db/paging.ts';
import type { Permission } from '../access/permissions.ts';
import { projectAllowed } from '../access/projects.ts';
import type { Principal } from '../call.ts';

/** What decides who may see and use a connection. */
type Owned = { ownerUserId: string | null; projectId: string | null };

/**
 * Whether the caller may see a connection: administrators all; owners theirs; one without owner and project everyone in the tenant; one of a project
 * those in the project who hold the permission for more than what they own.
 */
export function canSee(principal: Principal, permission: Permission, connection: Owned): boolean {
  if (principal.administrator || isOwn(principal, connection)) return true;
  if (connection.ownerUserId !== null) return false;
  if (connection.projectId === null) return true;
  return principal.permissions.has(permission) && projectAllowed(principal, connection.projectId);
}

/** The same as a condition on rows, for lists. */
export function seenBy(principal: Principal): Conditions {
  if (principal.administrator) return [];
  const shared = 'owner_user_id is null and project_id is null';
  const own = ownedBy(principal);
  if (!principal.permissions.has('connection:read')) return [{ sql: `(${shared}) or ${own.sql}`, params: own.params }];
  if (principal.projectIds === null) return [{ sql: `owner_user_id is null or ${own.sql}`, params: own.params }];
  const inProjects = oneOf('project_id', principal.projectIds);
  const sql = `(${shared}) or ${own.sql} or (owner_user_id is null and ${inProjects.sql})`;
  return [{ sql, params: [...own.params, ...inProjects.params] }];
}

/** Rows of the caller's own. */
export function ownedBy({ kind, userId, projectIds }: Principal): Conditions[number] {
  const own = { sql: 'owner_user_id = ?', params: [userId ?? ''] };
  if (kind !== 'api_key' || projectIds === null) return own;
  const inProjects = oneOf('project_id', projectIds);
  return {
    sql: `(${own.sql} and (project_id is null or ${inProjects.sql}))`,
    params: [...own.params, ...inProjects.params],
  };
}

/**
 * Refuses an act on a connection that was found. One that the caller may not see does not exist for them: CONNECTION_NOT_FOUND; one that they may
 * see and not use so: PERMISSION_MISSING. Everyone who sees a connection may read what it says of itself.
 */
export function refuseUnlessAllowed(principal: Principal, permission: Permission, id: string, connection: Owned): void {
  if (!canSee(principal, permission, connection)) throw connectionNotFound(id);
  if (permission !== 'connection:read') refuseUnlessPermitted(principal, permission, connection);
}

/** Refuses an act on something that the caller sees. Fails with PERMISSION_MISSING. */
export function refuseUnlessPermitted(principal: Principal, permission: Permission, owned: Owned): void {
  if (principal.permissions.has(permission)) return;
  if (principal.ownPermissions.has(permission) && isOwn(principal, owned)) return;
  throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission } });
}

/** CONNECTION_NOT_FOUND, the same whether the connection is absent or somebody else's. */
export function connectionNotFound(id: string): LatchkeyError {
  return new LatchkeyError('CONNECTION_NOT_FOUND', { metadata: { connection_id: id } });
}

/** Whether something is the caller's own. A key that acts for a user stays within its projects. */
export function isOwn(principal: Principal, { ownerUserId, projectId }: Owned): boolean {
  if (ownerUserId === null || ownerUserId !== principal.userId) return false;
  return principal.kind !== 'api_key' || projectAllowed(principal, projectId);
}
