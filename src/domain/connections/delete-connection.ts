import type { Em } from '../../db/transaction.ts';
import type { Connection } from '../../model/connection.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { lockConnection } from './find-connection.ts';
import { givenUpGrant } from './given-up-grant.ts';
import { type ProviderRevocation, scheduleRevocation } from './schedule-revocation.ts';

/** Deletes a connection and its credential; tokens are then revoked at the provider. Fails with CONNECTION_NOT_FOUND, ETAG_MISMATCH. */
export async function deleteConnection(call: Call, id: string, etag: string): Promise<void> {
  const { tenantId } = call.principal;
  const grant = await givenUpGrant(call.app, tenantId, id);
  return change(call, async (em) => {
    const connection = await lockConnection(em, call, id, 'connection:delete', etag);
    const providerRevocation = await scheduleRevocation(em, call, connection, grant);
    removeConnection(em, call, connection, providerRevocation);
  });
}

/** Removes a connection in a transaction that has settled what becomes of its tokens. */
export function removeConnection(
  em: Em,
  call: Call,
  connection: Connection,
  providerRevocation: ProviderRevocation,
): void {
  const { tenantId, id } = connection;
  em.remove(connection);
  const resource = { type: 'connection', id };
  const before = connection.summary();
  const after = { provider_revocation: providerRevocation };
  audit(em, call, 'connection_deleted', resource, providerRevocation === 'NOTHING' ? { before } : { before, after });
  event(em, call, 'connection.deleted', { ...connection.aggregate(), generation: connection.version + 1 }, before);
  announce(em, { kind: 'connection', tenantId, id });
}
