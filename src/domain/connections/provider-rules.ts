import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import type { CredentialKind } from '../../model/connection.ts';
import type { Integration } from '../../model/integration.ts';
import type { JsonObject } from '../../model/json.ts';
import { checkKey } from '../../providers/provider.ts';
import { namesIn } from '../../providers/template.ts';
import type { App, Call, Principal } from '../call.ts';
import { findIntegration } from '../integrations/find-integration.ts';
import { lookUpProvider } from '../integrations/find-provider.ts';
import type { CredentialInput } from './store-credential.ts';

/** Kinds whose tokens can belong to an integration. */
export const OF_INTEGRATIONS: readonly CredentialKind[] = ['oauth2', 'client_credentials'];

type Given = { integrationId: string | null; provider: string; credential: CredentialInput };

/**
 * The integration that a connection's credential belongs to. A token for the client itself is the tenant's, and so for who may make connections for all of it.
 * Fails with INTEGRATION_NOT_FOUND, FIELD_INVALID, PERMISSION_MISSING.
 */
export async function integrationFor(
  em: Em,
  { app, principal }: Call,
  { integrationId, provider, credential }: Given,
): Promise<Integration | null> {
  checkCalledUrls(credential, app.config.production);
  const forItself = credential.kind === 'client_credentials';
  if (!integrationId) {
    if (forItself && !credential.fields.token_url)
      throw fieldInvalid('credential.client_credentials.token_url', 'is required without integration_id');
    return null;
  }
  if (!OF_INTEGRATIONS.includes(credential.kind))
    throw fieldInvalid('integration_id', 'goes with the kinds oauth2 and client_credentials alone');
  const integration = await findIntegration(em, principal.tenantId, integrationId);
  if (provider && provider !== integration.provider)
    throw fieldInvalid('provider', `differs from that of the integration, ${integration.provider}`);
  if (forItself) await refuseUnlessForItself(em, app, principal, integration);
  return integration;
}

async function refuseUnlessForItself(em: Em, app: App, principal: Principal, { provider }: Integration): Promise<void> {
  if (!principal.permissions.has('connection:create'))
    throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: 'connection:create' } });
  const known = await lookUpProvider(app, em, principal.tenantId, provider);
  if (!known?.definition.oauth?.clientCredentials)
    throw fieldInvalid('credential.client_credentials', `is not offered by ${provider}`);
}

/** Secrets go over https alone in production. */
function checkCalledUrls({ kind, fields }: CredentialInput, production: boolean): void {
  for (const name of ['token_url', 'url']) {
    const url = fields[name];
    if (typeof url !== 'string' || url === '') continue;
    if (!URL.canParse(url)) throw fieldInvalid(`credential.${kind}.${name}`, 'is not a URL');
    if (production && !url.startsWith('https:'))
      throw fieldInvalid(`credential.${kind}.${name}`, 'must be an https URL');
  }
}

/**
 * What requests to a provider need, under what a new connection says itself: the base URL, where that is the same for everybody, and headers of its API and
 * of the kind of key.
 */
export async function requestDefaults(
  em: Em,
  { app, principal }: Call,
  provider: string,
  credential: Pick<CredentialInput, 'kind' | 'fields'> | null,
): Promise<{ baseUrl: string; headers: Record<string, string> }> {
  if (credential?.kind === 'aws') return { baseUrl: bucketUrl(credential.fields), headers: {} };
  const known = provider ? await lookUpProvider(app, em, principal.tenantId, provider) : null;
  if (!known) return { baseUrl: '', headers: {} };
  const { apiBaseUrl = '', apiHeaders, keys = [] } = known.definition;
  const baseUrl = namesIn(apiBaseUrl).length === 0 ? apiBaseUrl : '';
  return { baseUrl, headers: { ...apiHeaders, ...keys.find((key) => key.kind === credential?.kind)?.headers } };
}

/** A bucket's own host, or its path where its name has dots, for which there are no certificates. */
function bucketUrl({ endpoint, bucket, region }: JsonObject): string {
  const path = bucket ? `/${bucket}` : '';
  if (endpoint) return `${String(endpoint).replace(/\/+$/, '')}${path}`;
  const host = `s3.${region || 'us-east-1'}.amazonaws.com`;
  return bucket && !String(bucket).includes('.') ? `https://${bucket}.${host}` : `https://${host}${path}`;
}

/** Headers over others, whose names compare without case. */
export function overHeaders(defaults: Record<string, string>, own: Record<string, string>): Record<string, string> {
  const set = new Set(Object.keys(own).map((name) => name.toLowerCase()));
  return { ...Object.fromEntries(Object.entries(defaults).filter(([name]) => !set.has(name.toLowerCase()))), ...own };
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
