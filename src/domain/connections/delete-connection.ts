import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { lockConnection } from './find-connection.ts';

/** Deletes a connection and its credential. Fails with CONNECTION_NOT_FOUND, ETAG_MISMATCH. */
export function deleteConnection(call: Call, id: string, etag: string): Promise<void> {
  const { tenantId } = call.principal;
  return change(call, async (em) => {
    const connection = await lockConnection(em, call, id, 'connection:delete', etag);
    em.remove(connection);
    const resource = { type: 'connection', id };
    audit(em, call, 'connection_deleted', resource, { before: connection.summary() });
    event(em, call, 'connection.deleted', { ...resource, generation: connection.version + 1 }, connection.summary());
    announce(em, { kind: 'connection', tenantId, id });
  });
}
