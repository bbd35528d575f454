import type { MessageInitShape } from '@bufbuild/protobuf';
import { AccessService } from '../../gen/latchkey/v1/access_service_pb.ts';
import type { ApiKeySchema } from '../../gen/latchkey/v1/api_key_pb.ts';
import type { TenantSchema } from '../../gen/latchkey/v1/tenant_pb.ts';
import type { UserSchema } from '../../gen/latchkey/v1/user_pb.ts';
import { createApiKey } from '../domain/access/create-api-key.ts';
import { createTenant } from '../domain/access/create-tenant.ts';
import { getMe } from '../domain/access/get-me.ts';
import { listApiKeys } from '../domain/access/list-api-keys.ts';
import { listTenants, type TenantRow } from '../domain/access/list-tenants.ts';
import { listUsers } from '../domain/access/list-users.ts';
import { isRoleName, ROLE_NAMES, ROLES } from '../domain/access/permissions.ts';
import { revokeApiKey } from '../domain/access/revoke-api-key.ts';
import { updateTenant } from '../domain/access/update-tenant.ts';
import { updateUserRoles } from '../domain/access/update-user-roles.ts';
import type { ApiKey } from '../model/api-key.ts';
import type { User } from '../model/user.ts';
import { implement } from './implement.ts';
import { limitsOf, limitsToProto, rateOf, rateToProto } from './limits.ts';
import { pageRequest, pageResponse } from './page.ts';
import { fromTimestamp, toTimestamp } from './time.ts';

export const accessService = implement(AccessService, {
  async getMe(call) {
    const { user, apiKey } = await getMe(call);
    const { tenantId, permissions, ownPermissions, projectIds } = call.principal;
    return {
      tenantId,
      user: user ? userToProto(user) : undefined,
      apiKey: apiKey ? apiKeyToProto(apiKey) : undefined,
      permissions: [...permissions].sort(),
      ownPermissions: [...ownPermissions].sort(),
      projectIds: [...(projectIds ?? [])],
      limitedToProjects: projectIds !== null,
    };
  },

  async listUsers(call, request) {
    const page = await listUsers(call, pageRequest(request));
    return { users: page.items.map(userToProto), ...pageResponse(page) };
  },

  async updateUserRoles(call, { userId, roles }) {
    return { user: userToProto(await updateUserRoles(call, userId, roles.filter(isRoleName))) };
  },

  async listRoles() {
    const roles = ROLE_NAMES.map((name) => ({
      name,
      permissions: [...ROLES[name].permissions],
      ownPermissions: [...ROLES[name].ownPermissions],
    }));
    return { roles };
  },

  async createApiKey(call, request) {
    const { displayName, scopes, projectIds, tenantId, requestId } = request;
    const rateLimit = request.rateLimit ? rateOf(request.rateLimit) : null;
    const expireTime = fromTimestamp(request.expireTime);
    const { apiKey, text } = await createApiKey(call, {
      displayName,
      scopes,
      projectIds,
      tenantId,
      requestId,
      expireTime,
      rateLimit,
    });
    return { apiKey: apiKeyToProto(apiKey), secret: text?.reveal() ?? '' };
  },

  async listApiKeys(call, request) {
    const page = await listApiKeys(call, pageRequest(request));
    return { apiKeys: page.items.map(apiKeyToProto), ...pageResponse(page) };
  },

  async revokeApiKey(call, { apiKeyId }) {
    return { apiKey: apiKeyToProto(await revokeApiKey(call, apiKeyId)) };
  },

  async createTenant(call, { tenantId, displayName, requestId, limits }) {
    const input = { tenantId, displayName, requestId, limits: limits ? limitsOf(limits) : {} };
    return { tenant: tenantToProto(await createTenant(call, input)) };
  },

  async updateTenant(call, { tenantId, displayName, limits }) {
    const input = { tenantId, displayName, limits: limits && limitsOf(limits) };
    return { tenant: tenantToProto(await updateTenant(call, input)) };
  },

  async listTenants(call, request) {
    const page = await listTenants(call, pageRequest(request));
    return { tenants: page.items.map(tenantToProto), ...pageResponse(page) };
  },
});

function userToProto(user: User): MessageInitShape<typeof UserSchema> {
  const { id, subject, issuer, email, displayName, assignedRoles, mappedRoles } = user;
  return {
    ...{ id, subject, issuer, email, displayName, assignedRoles, mappedRoles, roles: user.roles() },
    createTime: toTimestamp(user.createTime),
    lastSeenAt: toTimestamp(user.lastSeenAt),
  };
}

function apiKeyToProto(key: ApiKey): MessageInitShape<typeof ApiKeySchema> {
  const { id, displayName, scopes, projectIds, operator, rateLimit } = key;
  return {
    ...{ id, displayName, scopes, projectIds, operator },
    expireTime: toTimestamp(key.expireTime),
    revokeTime: toTimestamp(key.revokeTime),
    createTime: toTimestamp(key.createTime),
    rateLimit: rateLimit ? rateToProto(rateLimit) : undefined,
  };
}

function tenantToProto({
  tenantId,
  displayName,
  createTime,
  limits,
}: TenantRow): MessageInitShape<typeof TenantSchema> {
  return { id: tenantId, displayName, createTime: toTimestamp(createTime), limits: limitsToProto(limits) };
}
