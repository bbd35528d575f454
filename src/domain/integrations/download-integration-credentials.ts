import { IntegrationSecret } from '../../model/integration-secret.ts';
import { auditRead } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { findIntegration } from './find-integration.ts';
import { openClientSecrets } from './integration-credentials.ts';
import { viewOf } from './integration-view.ts';

/** Client id and secrets as a JSON document. Fails with INTEGRATION_NOT_FOUND, AUDIT_UNAVAILABLE. */
export async function downloadIntegrationCredentials(
  call: Call,
  id: string,
): Promise<{ document: string; filename: string }> {
  const { tenantId } = call.principal;
  const { view, stored } = await read(call, async (em) => ({
    view: await viewOf(em, call, await findIntegration(em, tenantId, id)),
    stored: await em.find(IntegrationSecret, { tenantId, integrationId: id }, { orderBy: { position: 'asc' } }),
  }));
  const clientSecrets = (await openClientSecrets(call.app, stored)).map((secret) => secret.reveal());
  await auditRead(call, 'integration_credentials_downloaded', { type: 'integration', id });
  const { provider, clientId } = view.integration;
  const content = { provider, client_id: clientId, client_secrets: clientSecrets, redirect_uri: view.redirectUri };
  return { document: `${JSON.stringify(content, null, 2)}\n`, filename: `${provider}-${id}.json` };
}
