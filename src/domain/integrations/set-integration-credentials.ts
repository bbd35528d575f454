import { LockMode } from '@mikro-orm/core';
import { fieldInvalid } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import type { Em } from '../../db/transaction.ts';
import { Connection } from '../../model/connection.ts';
import type { Integration } from '../../model/integration.ts';
import { IntegrationSecret, integrationSecretPlace } from '../../model/integration-secret.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { event } from '../events/event.ts';
import { changeIntegration } from './change-integration.ts';
import { findProvider } from './find-provider.ts';
import type { IntegrationCredentials } from './integration-credentials.ts';
import type { IntegrationView } from './integration-view.ts';

/** Replaces client id and secrets, sealed. Fails with INTEGRATION_NOT_FOUND. */
export async function setIntegrationCredentials(
  call: Call,
  id: string,
  credentials: IntegrationCredentials,
): Promise<IntegrationView> {
  const seal = await call.app.keyring.sealer(call.principal.tenantId);
  return changeIntegration(call, { id }, 'credentials_set', async (em, integration) => {
    if (!credentials.clientId) await refuseWithOAuth(em, call, integration);
    const changed = integration.clientId !== '' && integration.clientId !== credentials.clientId;
    if (changed) await endGrants(em, call, integration);
    integration.clientId = credentials.clientId;
    await replaceSecrets(em, call, seal, integration, credentials);
    return { client_secrets: credentials.clientSecrets.length };
  });
}

/** Deletes client id and secrets. Fails with INTEGRATION_NOT_FOUND. */
export function deleteIntegrationCredentials(call: Call, id: string): Promise<IntegrationView> {
  return changeIntegration(call, { id }, 'credentials_deleted', async (em, integration) => {
    integration.clientId = '';
    integration.lastError = '';
    integration.lastErrorTime = null;
    await em.nativeDelete(IntegrationSecret, { tenantId: integration.tenantId, integrationId: id });
    return { client_secrets: 0 };
  });
}

/** Only a provider without OAuth, whose key the secret is, needs no client. Fails with FIELD_INVALID. */
async function refuseWithOAuth(em: Em, { app }: Call, { tenantId, provider }: Integration): Promise<void> {
  const { definition } = await findProvider(app, em, tenantId, provider);
  if (definition.oauth) throw fieldInvalid('client_id', 'is required, or document');
}

/** What was granted to another client is of no use to this one. Replicas forget the credentials when they hear of the integration. */
async function endGrants(em: Em, call: Call, { tenantId, id: integrationId }: Integration): Promise<void> {
  const connections = await em.find(
    Connection,
    { tenantId, integrationId, kind: 'oauth2', status: 'ACTIVE' },
    { orderBy: { id: 'asc' }, lockMode: LockMode.PESSIMISTIC_WRITE },
  );
  for (const connection of connections) {
    const before = connection.summary();
    connection.status = 'REAUTHORIZATION_REQUIRED';
    connection.statusReason = 'client_changed';
    connection.changed(new Date(call.app.clock.now()));
    const resource = { type: 'connection', id: connection.id };
    const after = { ...connection.summary(), reason: connection.statusReason };
    audit(em, call, 'connection_reauthorization_required', resource, { before, after });
    event(em, call, 'connection.reauthorization_required', connection.aggregate(), after);
  }
}

async function replaceSecrets(
  em: Em,
  call: Call,
  seal: Sealer,
  integration: Integration,
  { clientSecrets }: IntegrationCredentials,
): Promise<void> {
  const { tenantId, id: integrationId } = integration;
  const now = new Date(call.app.clock.now());
  integration.lastError = '';
  integration.lastErrorTime = null;
  await em.nativeDelete(IntegrationSecret, { tenantId, integrationId });
  for (const [position, secret] of clientSecrets.entries()) {
    const id = newId('csec', now.getTime());
    const value = seal(integrationSecretPlace(tenantId, id), Buffer.from(secret.reveal()));
    em.create(IntegrationSecret, { tenantId, id, integrationId, position, value, createTime: now });
  }
}
