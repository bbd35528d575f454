import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import { Connection } from '../../model/connection.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change, read } from '../change.ts';
import { event } from '../events/event.ts';
import { findIntegration, lockIntegration } from '../integrations/find-integration.ts';
import { givenUpGrant } from './given-up-grant.ts';
import { revokeIn } from './revoke-connection.ts';

/**
 * Deletes an integration. By force its connections are revoked first, one by one, and stay as revoked ones without it.
 * Fails with INTEGRATION_NOT_FOUND, INTEGRATION_IN_USE, ETAG_MISMATCH.
 */
export async function deleteIntegration(call: Call, id: string, etag: string, force: boolean): Promise<void> {
  const { tenantId } = call.principal;
  if (force) await revokeAll(call, id, etag);
  return change(call, async (em) => {
    const integration = await lockIntegration(em, call, id, etag);
    const connections = await em.count(Connection, { tenantId, integrationId: id });
    if (connections > 0) {
      const metadata = { integration_id: id, connection_count: String(connections) };
      throw new LatchkeyError('INTEGRATION_IN_USE', { metadata });
    }
    em.remove(integration);
    const resource = { type: 'integration', id };
    const before = integration.summary();
    audit(em, call, 'integration_deleted', resource, { before });
    event(em, call, 'integration.deleted', { ...resource, generation: integration.version + 1 }, before);
    announce(em, { kind: 'integration', tenantId, id });
  });
}

async function revokeAll(call: Call, integrationId: string, etag: string): Promise<void> {
  const { tenantId } = call.principal;
  const connections = await read(call, async (em) => {
    const integration = await findIntegration(em, tenantId, integrationId);
    if (etag && etag !== integration.etag())
      throw new LatchkeyError('ETAG_MISMATCH', { metadata: { etag: integration.etag() } });
    return em.find(Connection, { tenantId, integrationId }, { fields: ['id'] });
  });
  for (const { id } of connections) {
    const grant = await givenUpGrant(call.app, tenantId, id);
    await change(call, async (em) => {
      // Whoever may delete an integration gives up what it stands for, whoever owns that.
      const key = { tenantId, id, integrationId };
      const connection = await em.findOne(Connection, key, { lockMode: LockMode.PESSIMISTIC_WRITE });
      if (!connection) return;
      await revokeIn(em, call, connection, grant);
      connection.integrationId = null;
    });
  }
}
