import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import { type Conditions, oneOf } from '../../db/paging.ts';
import type { Em } from '../../db/transaction.ts';
import { InboundEndpoint } from '../../model/inbound-endpoint.ts';
import type { Permission } from '../access/permissions.ts';
import { projectAllowed } from '../access/projects.ts';
import type { Call, Principal } from '../call.ts';
import { refuseUnlessPermitted } from '../connections/visibility.ts';

/**
 * Whether the caller may see an endpoint: administrators all; owners those about their connections; those of nobody in particular who may read webhooks of more than
 * what they own, in their projects.
 */
export function canSee(principal: Principal, { ownerUserId, projectId }: InboundEndpoint): boolean {
  const shared = ownerUserId === null && principal.permissions.has('webhook:read');
  const own = ownerUserId !== null && ownerUserId === principal.userId;
  return principal.administrator || ((shared || own) && projectAllowed(principal, projectId));
}

/** The same as a condition on rows, for lists, or for those that the caller may act on otherwise. */
export function seenBy(
  { administrator, permissions, userId, projectIds }: Principal,
  permission: Permission = 'webhook:read',
): Conditions {
  if (administrator) return [];
  const shared = permissions.has(permission) ? 'owner_user_id is null or ' : '';
  const conditions: Conditions = [{ sql: `${shared}owner_user_id = ?`, params: [userId ?? ''] }];
  if (projectIds === null) return conditions;
  const inProjects = oneOf('project_id', projectIds);
  return [...conditions, { sql: `project_id is null or ${inProjects.sql}`, params: inProjects.params }];
}

/** A condition on messages: their endpoint is there, and the caller may see it. */
export function ofEndpointsSeenBy(principal: Principal, permission?: Permission): Conditions[number] {
  const conditions = seenBy(principal, permission);
  const own = conditions.map(({ sql }) => ` and (${sql})`).join('');
  return {
    sql: `exists (select from latchkey.inbound_endpoint e where e.tenant_id = inbound_message.tenant_id and e.id = inbound_message.endpoint_id${own})`,
    params: conditions.flatMap(({ params }) => params),
  };
}

/** Fails with INBOUND_ENDPOINT_NOT_FOUND. */
export async function findInboundEndpoint(em: Em, { principal }: Call, id: string): Promise<InboundEndpoint> {
  return seen(principal, id, await em.findOne(InboundEndpoint, { tenantId: principal.tenantId, id }));
}

/** One that the caller may change, locked until the transaction ends. Fails with PERMISSION_MISSING and, where an etag is given and another is current, ETAG_MISMATCH, too. */
export async function lockInboundEndpoint(
  em: Em,
  { principal }: Call,
  id: string,
  etag: string,
): Promise<InboundEndpoint> {
  const key = { tenantId: principal.tenantId, id };
  const found = await em.findOne(InboundEndpoint, key, { lockMode: LockMode.PESSIMISTIC_WRITE });
  const endpoint = seen(principal, id, found);
  refuseUnlessPermitted(principal, 'webhook:manage', endpoint);
  if (etag && etag !== endpoint.etag())
    throw new LatchkeyError('ETAG_MISMATCH', { metadata: { etag: endpoint.etag() } });
  return endpoint;
}

function seen(principal: Principal, id: string, endpoint: InboundEndpoint | null): InboundEndpoint {
  if (endpoint && canSee(principal, endpoint)) return endpoint;
  throw new LatchkeyError('INBOUND_ENDPOINT_NOT_FOUND', { metadata: { endpoint_id: id } });
}
