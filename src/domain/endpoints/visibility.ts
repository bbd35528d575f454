import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import { type Conditions, oneOf } from '../../db/paging.ts';
import type { Em } from '../../db/transaction.ts';
import { EventEndpoint } from '../../model/event-endpoint.ts';
import { projectAllowed } from '../access/projects.ts';
import type { Call, Principal } from '../call.ts';
import { refuseUnlessPermitted } from '../connections/visibility.ts';
import { endpointNotFound } from '../webhooks/endpoint-target.ts';

/** Whether the caller may see an endpoint: administrators all; others who may read webhooks of more than what they own, in their projects. */
function canSee(principal: Principal, { projectId }: EventEndpoint): boolean {
  return principal.administrator || (principal.permissions.has('webhook:read') && projectAllowed(principal, projectId));
}

/** The same as a condition on rows, for lists. */
export function seenBy({ administrator, permissions, projectIds }: Principal): Conditions {
  if (administrator) return [];
  if (!permissions.has('webhook:read')) return [{ sql: 'false', params: [] }];
  if (projectIds === null) return [];
  const inProjects = oneOf('project_id', projectIds);
  return [{ sql: `project_id is null or ${inProjects.sql}`, params: inProjects.params }];
}

/** Fails with EVENT_ENDPOINT_NOT_FOUND. */
export async function findEndpoint(em: Em, { principal }: Call, id: string): Promise<EventEndpoint> {
  return seen(principal, id, await em.findOne(EventEndpoint, { tenantId: principal.tenantId, id }));
}

/** One that the caller may manage. Fails with EVENT_ENDPOINT_NOT_FOUND, PERMISSION_MISSING. */
export async function findManagedEndpoint(em: Em, call: Call, id: string): Promise<EventEndpoint> {
  return managed(call.principal, await findEndpoint(em, call, id));
}

/** The same, locked until the transaction ends. Where an etag is given and another is current, fails with ETAG_MISMATCH, too. */
export async function lockEndpoint(em: Em, { principal }: Call, id: string, etag: string): Promise<EventEndpoint> {
  const key = { tenantId: principal.tenantId, id };
  const found = await em.findOne(EventEndpoint, key, { lockMode: LockMode.PESSIMISTIC_WRITE });
  const endpoint = managed(principal, seen(principal, id, found));
  if (etag && etag !== endpoint.etag())
    throw new LatchkeyError('ETAG_MISMATCH', { metadata: { etag: endpoint.etag() } });
  return endpoint;
}

function managed(principal: Principal, endpoint: EventEndpoint): EventEndpoint {
  refuseUnlessPermitted(principal, 'webhook:manage', { ownerUserId: null, projectId: endpoint.projectId });
  return endpoint;
}

function seen(principal: Principal, id: string, endpoint: EventEndpoint | null): EventEndpoint {
  if (endpoint && canSee(principal, endpoint)) return endpoint;
  throw endpointNotFound(id);
}
