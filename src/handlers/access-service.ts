import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  AccessService,
  ApiKeyOrder,
  RoleOrder,
  TenantOrder,
  UserOrder,
} from '../../gen/latchkey/v1/access_service_pb.ts';
import type { ApiKeySchema } from '../../gen/latchkey/v1/api_key_pb.ts';
import { type TenantSchema, TenantState } from '../../gen/latchkey/v1/tenant_pb.ts';
import type { UserSchema } from '../../gen/latchkey/v1/user_pb.ts';
import { createApiKey } from '../domain/access/create-api-key.ts';
import { createTenant } from '../domain/access/create-tenant.ts';
import { getMe } from '../domain/access/get-me.ts';
import { getUser } from '../domain/access/get-user.ts';
import { listApiKeys } from '../domain/access/list-api-keys.ts';
import { listRoles } from '../domain/access/list-roles.ts';
import { listTenants, type TenantRow } from '../domain/access/list-tenants.ts';
import { listUsers } from '../domain/access/list-users.ts';
import { isRoleName } from '../domain/access/permissions.ts';
import { revokeApiKey } from '../domain/access/revoke-api-key.ts';
import { updateTenant } from '../domain/access/update-tenant.ts';
import { updateUserRoles } from '../domain/access/update-user-roles.ts';
import { deleteTenant } from '../domain/removal/delete-tenant.ts';
import { deleteUser } from '../domain/removal/delete-user.ts';
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
    const order = request.order === UserOrder.CREATE_TIME_ASC ? 'CREATE_TIME_ASC' : 'CREATE_TIME_DESC';
    const page = await listUsers(call, order, pageRequest(request));
    return { users: page.items.map(userToProto), ...pageResponse(page) };
  },

  async getUser(call, { userId }) {
    return { user: userToProto(await getUser(call, userId)) };
  },

  async updateUserRoles(call, { userId, etag, roles }) {
    return { user: userToProto(await updateUserRoles(call, userId, etag, roles.filter(isRoleName))) };
  },

  async deleteUser(call, { userId, etag, keepApiKeys }) {
    return { revokedApiKeyIds: await deleteUser(call, userId, etag, keepApiKeys) };
  },

  async listRoles(call, request) {
    const order = request.order === RoleOrder.NAME_DESC ? 'NAME_DESC' : 'NAME_ASC';
    const page = listRoles(call, order, pageRequest(request));
    const roles = page.items.map(({ name, rules }) => ({
      ...{ name, permissions: [...rules.permissions], ownPermissions: [...rules.ownPermissions] },
    }));
    return { roles, ...pageResponse(page) };
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
    const order = request.order === ApiKeyOrder.CREATE_TIME_ASC ? 'CREATE_TIME_ASC' : 'CREATE_TIME_DESC';
    const page = await listApiKeys(call, order, pageRequest(request));
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

  async deleteTenant(call, { tenantId, confirmTenantId, immediately }) {
    return { tenant: tenantToProto(await deleteTenant(call, { tenantId, confirmTenantId, immediately })) };
  },

  async listTenants(call, request) {
    const order = request.order === TenantOrder.ID_DESC ? 'ID_DESC' : 'ID_ASC';
    const page = await listTenants(call, order, pageRequest(request));
    return { tenants: page.items.map(tenantToProto), ...pageResponse(page) };
  },
});

function userToProto(user: User): MessageInitShape<typeof UserSchema> {
  const { id, subject, issuer, email, displayName, assignedRoles, mappedRoles } = user;
  return {
    ...{ id, subject, issuer, email, displayName, assignedRoles, mappedRoles, roles: user.roles() },
    createTime: toTimestamp(user.createTime),
    lastSeenAt: toTimestamp(user.lastSeenAt),
    etag: user.etag(),
  };
}

function apiKeyToProto(key: ApiKey): MessageInitShape<typeof ApiKeySchema> {
  const { id, displayName, scopes, projectIds, operator, creatorUserId, rateLimit } = key;
  return {
    ...{ id, displayName, scopes, projectIds, operator, creatorUserId },
    expireTime: toTimestamp(key.expireTime),
    revokeTime: toTimestamp(key.revokeTime),
    createTime: toTimestamp(key.createTime),
    rateLimit: rateLimit ? rateToProto(rateLimit) : undefined,
  };
}

function tenantToProto(tenant: TenantRow): MessageInitShape<typeof TenantSchema> {
  const { tenantId, displayName, createTime, state, deleteTime, eraseTime, limits } = tenant;
  return {
    ...{ id: tenantId, displayName, state: TenantState[state], createTime: toTimestamp(createTime) },
    ...{ deleteTime: toTimestamp(deleteTime), eraseTime: toTimestamp(eraseTime) },
    limits: limitsToProto(limits),
  };
}
