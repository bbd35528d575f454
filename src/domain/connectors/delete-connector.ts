import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { lockConnector } from './visibility.ts';

/** Deletes a connector, and what it simulated. Fails with CONNECTOR_NOT_FOUND, ETAG_MISMATCH. */
export function deleteConnector(call: Call, id: string, etag: string): Promise<void> {
  return change(call, async (em) => {
    const connector = await lockConnector(em, call, id, etag);
    const before = connector.summary();
    em.remove(connector);
    audit(em, call, 'connector_deleted', { type: 'connector', id }, { before });
    const aggregate = { ...connector.aggregate(), generation: connector.version + 1 };
    event(em, call, 'connector.deleted', aggregate, before);
  });
}
