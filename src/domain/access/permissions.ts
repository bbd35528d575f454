/** Every permission, `noun:verb`. */
export const PERMISSIONS = [
  'connection:read',
  'connection:create',
  'connection:update',
  'connection:delete',
  'connection:use',
  'credential:read',
  'integration:read',
  'integration:create',
  'integration:update',
  'integration:delete',
  'integration_credential:read',
  'provider:manage',
  'langflow:use',
  'langflow_key:read',
  'secret:read',
  'secret:use',
  'secret:manage',
  'webhook:send',
  'webhook:read',
  'webhook:manage',
  'connector:read',
  'connector:manage',
  'connector:execute',
  'event:read',
  'audit:read',
  'user:read',
  'user:delete',
  'user:act_as',
  'role:manage',
  'api_key:read',
  'api_key:manage',
  'tenant:manage',
] as const;
export type Permission = (typeof PERMISSIONS)[number];

/** The operator's alone: `*` does not include it. */
const OPERATOR_PERMISSION: Permission = 'tenant:manage';

/** What a role permits: for the whole tenant, and for what the user owns. */
export type RoleRules = { permissions: readonly Permission[]; ownPermissions: readonly Permission[] };

const OWN: readonly Permission[] = [
  'connection:read',
  'connection:create',
  'connection:update',
  'connection:delete',
  'connection:use',
  'credential:read',
  'langflow:use',
  'langflow_key:read',
  'webhook:send',
  'webhook:read',
  'webhook:manage',
];

export const ROLE_NAMES = ['admin', 'resource_manager', 'approver', 'requestor'] as const;
export type RoleName = (typeof ROLE_NAMES)[number];

export const ROLES: Record<RoleName, RoleRules> = {
  admin: { permissions: expandScopes(['*']), ownPermissions: [] },
  resource_manager: {
    permissions: expandScopes(['connection:*', 'integration:*', 'secret:*', 'webhook:*', 'event:*']),
    ownPermissions: OWN,
  },
  approver: { permissions: ['connection:read', 'integration:read'], ownPermissions: [] },
  requestor: { permissions: ['integration:read'], ownPermissions: OWN },
};

export function isRoleName(name: string): name is RoleName {
  return (ROLE_NAMES as readonly string[]).includes(name);
}

/** The permissions that a key's scopes name: `noun:verb`, `noun:*` or `*`. */
export function expandScopes(scopes: readonly string[]): Permission[] {
  return PERMISSIONS.filter((permission) =>
    scopes.some((scope) => {
      if (scope === permission) return true;
      if (permission === OPERATOR_PERMISSION) return false;
      return scope === '*' || scope === `${permission.split(':')[0]}:*`;
    }),
  );
}

/** Permissions that a user's roles give, and those over what they own. Every user is a requestor. */
export function permissionsOf(roles: readonly string[]): { all: Set<Permission>; own: Set<Permission> } {
  const rules = ['requestor', ...roles].filter(isRoleName).map((role) => ROLES[role]);
  return {
    all: new Set(rules.flatMap((rule) => rule.permissions)),
    own: new Set(rules.flatMap((rule) => rule.ownPermissions)),
  };
}
