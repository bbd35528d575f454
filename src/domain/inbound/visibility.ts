import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import { type Conditions, oneOf } from '../../db/paging.ts';
import type { Em } from '../../db/transaction.ts';
import { InboundEndpoint } from '../../model/inbound-endpoint.ts';
import { projectAllowed } from '../access/projects.ts';
import type { Call, Principal } from '../call.ts';

/** Whether the caller may see an endpoint: those of the tenant and of the caller's projects, unless they are about a connection of another user. */
export function canSee(principal: Principal, { ownerUserId, projectId }: InboundEndpoint): boolean {
  const owned = ownerUserId === null || ownerUserId === principal.userId;
  return principal.administrator || (owned && projectAllowed(principal, projectId));
}

/** The same as a condition on rows, for lists. */
export function seenBy({ administrator, userId, projectIds }: Principal): Conditions {
  if (administrator) return [];
  const conditions: Conditions = [{ sql: 'owner_user_id is null or owner_user_id = ?', params: [userId ?? ''] }];
  if (projectIds === null) return conditions;
  const inProjects = oneOf('project_id', projectIds);
  return [...conditions, { sql: `project_id is null or ${inProjects.sql}`, params: inProjects.params }];
}

/** A condition on messages: their endpoint is there, and the caller may see it. */
export function ofEndpointsSeenBy(principal: Principal): Conditions[number] {
  const conditions = seenBy(principal);
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

/** The same, locked until the transaction ends. Fails with ETAG_MISMATCH, too, where an etag is given and another is current. */
export async function lockInboundEndpoint(
  em: Em,
  { principal }: Call,
  id: string,
  etag: string,
): Promise<InboundEndpoint> {
  const key = { tenantId: principal.tenantId, id };
  const found = await em.findOne(InboundEndpoint, key, { lockMode: LockMode.PESSIMISTIC_WRITE });
  const endpoint = seen(principal, id, found);
  if (etag && etag !== endpoint.etag())
    throw new LatchkeyError('ETAG_MISMATCH', { metadata: { etag: endpoint.etag() } });
  return endpoint;
}

function seen(principal: Principal, id: string, endpoint: InboundEndpoint | null): InboundEndpoint {
  if (endpoint && canSee(principal, endpoint)) return endpoint;
  throw new LatchkeyError('INBOUND_ENDPOINT_NOT_FOUND', { metadata: { endpoint_id: id } });
}
