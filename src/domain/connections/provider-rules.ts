import { fieldInvalid } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import type { CredentialKind } from '../../model/connection.ts';
import type { Integration } from '../../model/integration.ts';
import { checkKey } from '../../providers/provider.ts';
import type { Call } from '../call.ts';
import { findIntegration } from '../integrations/find-integration.ts';
import { lookUpProvider } from '../integrations/find-provider.ts';
import type { CredentialInput } from './store-credential.ts';

/** Kinds whose tokens can belong to an integration. */
const OF_INTEGRATIONS: readonly CredentialKind[] = ['oauth2', 'client_credentials'];

type Given = { integrationId: string | null; provider: string; credential: CredentialInput };

/** The integration that a new connection names. Fails with INTEGRATION_NOT_FOUND, FIELD_INVALID. */
export async function integrationFor(
  em: Em,
  { principal }: Call,
  { integrationId, provider, credential }: Given,
): Promise<Integration | null> {
  const ofIntegration = OF_INTEGRATIONS.includes(credential.kind);
  if (!integrationId) {
    if (credential.kind === 'client_credentials' && !credential.fields.token_url)
      throw fieldInvalid('credential.client_credentials.token_url', 'is required without integration_id');
    return null;
  }
  if (!ofIntegration) throw fieldInvalid('integration_id', 'goes with the kinds oauth2 and client_credentials alone');
  const integration = await findIntegration(em, principal.tenantId, integrationId);
  if (provider && provider !== integration.provider)
    throw fieldInvalid('provider', `differs from that of the integration, ${integration.provider}`);
  return integration;
}

/** Fails with FIELD_INVALID where a key does not look as the provider's keys do. Names that are no provider's are the caller's own. */
export async function checkCredential(
  em: Em,
  { app, principal }: Call,
  provider: string,
  { kind, secrets }: CredentialInput,
): Promise<void> {
  const known = provider ? await lookUpProvider(app, em, principal.tenantId, provider) : null;
  const forms = known?.definition.keys?.filter((key) => key.kind === kind) ?? [];
  const given = Object.entries(secrets).flatMap(([name, source]) =>
    'value' in source ? [[name, source.value.reveal()]] : [],
  );
  const faults: unknown[] = [];
  for (const form of forms) {
    try {
      checkKey(form, Object.fromEntries(given) as Record<string, string>, `credential.${kind}`);
      return;
    } catch (fault) {
      faults.push(fault);
    }
  }
  // A provider may have keys of several forms: one must fit.
  if (faults.length > 0) throw faults[0];
}
