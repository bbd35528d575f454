import type { App, Call, CallRates, Principal, ToolApp, ToolCall } from '../call.ts';
import { expandScopes, type Permission, permissionsOf, ROLES } from './permissions.ts';

/** What concerns the whole tenant, and so no key that is limited to projects. */
const ABOVE_PROJECTS: ReadonlySet<Permission> = new Set([
  'audit:read',
  'user:read',
  'user:delete',
  'role:manage',
  'integration:create',
  'integration:update',
  'integration:delete',
  'integration_credential:read',
  'provider:manage',
]);
const NEVER = Number.POSITIVE_INFINITY;

type UserIdentity = { tenantId: string; id: string; assignedRoles: readonly string[]; roles: readonly string[] };
type KeyIdentity = {
  tenantId: string;
  id: string;
  scopes: readonly string[];
  projectIds: readonly string[];
  operator: boolean;
  expireTime: Date | null;
  rates: CallRates | null;
};

/** A user, with what their roles permit. `projectIds` null: no claim limits them. */
export function principalOfUser(
  user: UserIdentity,
  projectIds: readonly string[] | null,
  expiresAt: number,
  rates: CallRates | null,
): Principal {
  const { all, own } = permissionsOf(user.roles);
  const administrator = user.roles.includes('admin');
  return {
    tenantId: user.tenantId,
    kind: 'user',
    id: user.id,
    userId: user.id,
    permissions: all,
    ownPermissions: own,
    // Administrators are limited to no project.
    projectIds: administrator ? null : projectIds,
    assignedRoles: user.assignedRoles,
    administrator,
    expiresAt,
    rates,
  };
}

/** An API key. One that acts for a user sees what that user sees, and has the user's hand over what they own. */
export function principalOfKey(key: KeyIdentity, actsFor: string | null): Principal {
  const scopes = key.operator ? [...key.scopes, 'tenant:manage'] : key.scopes;
  const projectIds = key.projectIds.length > 0 ? key.projectIds : null;
  return {
    tenantId: key.tenantId,
    kind: 'api_key',
    id: key.id,
    userId: actsFor,
    permissions: new Set(expandScopes(scopes).filter((permission) => !projectIds || !ABOVE_PROJECTS.has(permission))),
    ownPermissions: new Set(actsFor ? ROLES.requestor.ownPermissions : []),
    projectIds,
    administrator: scopes.includes('*') && !projectIds && !actsFor,
    expiresAt: key.expireTime?.getTime() ?? NEVER,
    rates: key.rates,
  };
}

/** A call of whoever has the database and the master key: the operator, at a command. */
export function operatorCall(app: ToolApp, tenantId: string): ToolCall {
  const principal: Principal = {
    ...{ tenantId, kind: 'system', id: '', userId: null, permissions: new Set(expandScopes(['*'])) },
    ...{ ownPermissions: new Set(), projectIds: null, administrator: true, expiresAt: NEVER, rates: null },
  };
  return { app, principal, requestId: '', address: '', signal: new AbortController().signal };
}

/** A call that Latchkey makes itself, in one tenant. */
export function systemCall(app: App, tenantId: string): Call {
  const principal: Principal = {
    ...{ tenantId, kind: 'system', id: '', userId: null },
    ...{ permissions: new Set(), ownPermissions: new Set(), projectIds: null, administrator: true },
    ...{ expiresAt: NEVER, rates: null },
  };
  return { app, principal, requestId: '', address: '', signal: new AbortController().signal };
}
