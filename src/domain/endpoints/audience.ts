import { LatchkeyError } from '../../base/error.ts';
import type { Audience, EventEndpoint } from '../../model/event-endpoint.ts';
import type { EventRow } from '../../model/outbox-event.ts';
import { projectAllowed } from '../access/projects.ts';
import type { Principal } from '../call.ts';
import { seesEvent } from '../feeds/event-row.ts';
import { evaluateCondition } from '../webhooks/evaluate-condition.ts';
import { type EventBody, eventBody } from './event-body.ts';

/** What the caller may see of events, for an endpoint that sends them where the caller says. Fails with PERMISSION_MISSING. */
export function audienceOf({ administrator, permissions, projectIds }: Principal): Audience {
  if (!permissions.has('event:read'))
    throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: 'event:read' } });
  const reading = [...permissions].filter((permission) => permission.endsWith(':read'));
  return { administrator, permissions: reading, projectIds: projectIds && [...projectIds] };
}

/**
 * Refuses to let the caller choose what an endpoint is told, or where, which is told more than they may see: what waits for it, and what is sent again, would go there,
 * and by what passes a filter they would learn what they may not see. Fails with EVENT_ENDPOINT_AUDIENCE_WIDER.
 */
export function refuseUnlessCovers(own: Audience, { id, audience }: EventEndpoint): void {
  if (own.administrator) return;
  const inProjects = projectsCover(own.projectIds, audience.projectIds);
  const permitted = audience.permissions.every((permission) => own.permissions.includes(permission));
  if (audience.administrator || !permitted || !inProjects)
    throw new LatchkeyError('EVENT_ENDPOINT_AUDIENCE_WIDER', { metadata: { endpoint_id: id } });
}

function projectsCover(own: Audience['projectIds'], of: Audience['projectIds']): boolean {
  return own === null || (of?.every((id) => own.includes(id)) ?? false);
}

/**
 * The body of an event for an endpoint; null: it is not sent there. Sent is what its audience may see, of its project and of the whole tenant: what users own only where the audience is
 * an administrator. A filter that fails does not hold.
 */
export function bodyFor(endpoint: EventEndpoint, event: EventRow, types = endpoint.eventTypes): EventBody | null {
  const { filter, projectId } = endpoint;
  const audience = principalOf(endpoint);
  const inProject = projectId === null || event.projectId === null || event.projectId === projectId;
  if (!inProject || !projectAllowed(audience, event.projectId) || !seesEvent(audience, event)) return null;
  if (!isOfTypes(endpoint.eventTypes, event.type) || !isOfTypes(types, event.type)) return null;
  const body = eventBody(event);
  return filter === '' || holds(filter, body) ? body : null;
}

/** Without types: any. */
function isOfTypes(types: readonly string[], type: string): boolean {
  if (types.length === 0) return true;
  return types.some((one) => (one.endsWith('.*') ? type.startsWith(one.slice(0, -1)) : one === type));
}

function holds(filter: string, event: EventBody): boolean {
  try {
    return evaluateCondition(filter, { event });
  } catch (error) {
    if (error instanceof LatchkeyError && error.reason === 'FIELD_INVALID') return false;
    throw error;
  }
}

function principalOf({ tenantId, audience }: EventEndpoint): Principal {
  const { administrator, permissions, projectIds } = audience;
  return {
    ...{ tenantId, kind: 'system', id: '', userId: null, administrator, projectIds, expiresAt: 0, rates: null },
    ...{ permissions: new Set(permissions), ownPermissions: new Set() },
  };
}
