import { enqueue } from '../../db/jobs.ts';
import type { Em } from '../../db/transaction.ts';
import type { InboundEndpoint } from '../../model/inbound-endpoint.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { lockInboundEndpoint } from './visibility.ts';

/** Deletes an endpoint, and has a job delete its messages. Fails with INBOUND_ENDPOINT_NOT_FOUND, ETAG_MISMATCH. */
export function deleteInboundEndpoint(call: Call, id: string, etag: string): Promise<void> {
  return change(call, async (em) => removeInboundEndpoint(em, call, await lockInboundEndpoint(em, call, id, etag)));
}

/** The same in a transaction that has locked it. */
export async function removeInboundEndpoint(em: Em, call: Call, endpoint: InboundEndpoint): Promise<void> {
  const { tenantId, id } = endpoint;
  const before = endpoint.summary();
  em.remove(endpoint);
  const resource = { type: 'inbound_endpoint', id };
  audit(em, call, 'inbound_endpoint_deleted', resource, { before });
  event(em, call, 'inbound_endpoint.deleted', { ...endpoint.aggregate(), generation: endpoint.version + 1 }, before);
  announce(em, { kind: 'inbound_endpoint', tenantId, id });
  await enqueue(em, 'purge_inbound_messages', { tenantId, id });
}
