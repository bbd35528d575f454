import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { lockEndpoint } from './visibility.ts';

/** Deletes an endpoint. What waits to be sent to it fails at its next attempt. Fails with EVENT_ENDPOINT_NOT_FOUND, ETAG_MISMATCH. */
export function deleteEndpoint(call: Call, id: string, etag: string): Promise<void> {
  return change(call, async (em) => {
    const endpoint = await lockEndpoint(em, call, id, etag);
    const before = endpoint.summary();
    em.remove(endpoint);
    audit(em, call, 'event_endpoint_deleted', { type: 'event_endpoint', id }, { before });
    const aggregate = { ...endpoint.aggregate(), generation: endpoint.version + 1 };
    event(em, call, 'event_endpoint.deleted', aggregate, before);
  });
}
