import { toJsonString } from '@bufbuild/protobuf';
import {
  CreateIntegrationRequestSchema,
  IntegrationOrder,
  IntegrationService,
  ProviderOrder,
  type SetIntegrationCredentialsRequest,
} from '../../gen/latchkey/v1/integration_service_pb.ts';
import { fieldInvalid } from '../base/error.ts';
import { SecretText } from '../base/secret-text.ts';
import { deleteAccount } from '../domain/accounts/delete-account.ts';
import { ensureAccount } from '../domain/accounts/ensure-account.ts';
import { deleteIntegration } from '../domain/connections/delete-integration.ts';
import { checkAllProvidersHealth, checkProviderHealth } from '../domain/integrations/check-provider-health.ts';
import { createIntegration } from '../domain/integrations/create-integration.ts';
import { createProvider } from '../domain/integrations/create-provider.ts';
import { deleteProvider } from '../domain/integrations/delete-provider.ts';
import { downloadIntegrationCredentials } from '../domain/integrations/download-integration-credentials.ts';
import { getIntegration } from '../domain/integrations/get-integration.ts';
import { getProvider } from '../domain/integrations/get-provider.ts';
import {
  type IntegrationCredentials,
  parseCredentialsDocument,
} from '../domain/integrations/integration-credentials.ts';
import { listIntegrations } from '../domain/integrations/list-integrations.ts';
import { listProviders } from '../domain/integrations/list-providers.ts';
import {
  deleteIntegrationCredentials,
  setIntegrationCredentials,
} from '../domain/integrations/set-integration-credentials.ts';
import { setIntegrationEnabled } from '../domain/integrations/set-integration-enabled.ts';
import { updateIntegration } from '../domain/integrations/update-integration.ts';
import { updateProvider } from '../domain/integrations/update-provider.ts';
import { accountToProto } from './account.ts';
import { implement } from './implement.ts';
import { definitionInput, integrationToProto, providerToProto } from './integration.ts';
import { pageRequest, pageResponse } from './page.ts';
import { healthToProto } from './provider-health.ts';

export const integrationService = implement(IntegrationService, {
  async listProviders(call, request) {
    const order = request.order === ProviderOrder.NAME_DESC ? 'NAME_DESC' : 'NAME_ASC';
    const page = await listProviders(call, request.kind, order, pageRequest(request));
    return { providers: page.items.map(providerToProto), ...pageResponse(page) };
  },

  async getProvider(call, { name }) {
    return { provider: providerToProto(await getProvider(call, name)) };
  },

  async createProvider(call, { definition }) {
    return { provider: providerToProto(await createProvider(call, definitionInput(definition!))) };
  },

  async updateProvider(call, { definition, etag }) {
    return { provider: providerToProto(await updateProvider(call, definitionInput(definition!), etag)) };
  },

  async deleteProvider(call, { name }) {
    await deleteProvider(call, name);
    return {};
  },

  async createIntegration(call, request) {
    const { provider, displayName, settings, scopes, requiredScopes, returnUrls, redirectPath, resource } = request;
    const { appGroup, appGroupId, apps, syncAction, autoCreateUsers, requestId } = request;
    const input = {
      ...{ provider, displayName, settings, scopes, requiredScopes, returnUrls, redirectPath, resource },
      ...{ appGroup, appGroupId, apps, syncAction, autoCreateUsers, enabled: !request.disabled },
    };
    const content = requestId ? toJsonString(CreateIntegrationRequestSchema, request) : '';
    return { integration: integrationToProto(await createIntegration(call, input, { requestId, content })) };
  },

  async getIntegration(call, { integrationId }) {
    return { integration: integrationToProto(await getIntegration(call, integrationId)) };
  },

  async listIntegrations(call, request) {
    const order = request.order === IntegrationOrder.CREATE_TIME_ASC ? 'CREATE_TIME_ASC' : 'CREATE_TIME_DESC';
    const page = await listIntegrations(call, request.provider, order, pageRequest(request));
    return { integrations: page.items.map(integrationToProto), ...pageResponse(page) };
  },

  async updateIntegration(call, request) {
    const { displayName, redirectPath, resource, appGroup, appGroupId, syncAction, autoCreateUsers } = request;
    const patch = {
      ...{ displayName, redirectPath, resource, appGroup, appGroupId, syncAction, autoCreateUsers },
      settings: request.settings?.entries,
      scopes: request.scopes?.scopes,
      requiredScopes: request.requiredScopes?.scopes,
      returnUrls: request.returnUrls?.origins,
      apps: request.apps?.names,
    };
    const updated = await updateIntegration(call, request.integrationId, request.etag, patch);
    return { integration: integrationToProto(updated) };
  },

  async deleteIntegration(call, { integrationId, etag, force }) {
    await deleteIntegration(call, integrationId, etag, force);
    return {};
  },

  async enableIntegration(call, { integrationId }) {
    return { integration: integrationToProto(await setIntegrationEnabled(call, integrationId, true)) };
  },

  async disableIntegration(call, { integrationId }) {
    return { integration: integrationToProto(await setIntegrationEnabled(call, integrationId, false)) };
  },

  async setIntegrationCredentials(call, request) {
    const credentials = credentialsInput(request);
    return {
      integration: integrationToProto(await setIntegrationCredentials(call, request.integrationId, credentials)),
    };
  },

  async deleteIntegrationCredentials(call, { integrationId }) {
    return { integration: integrationToProto(await deleteIntegrationCredentials(call, integrationId)) };
  },

  async downloadIntegrationCredentials(call, { integrationId }) {
    return downloadIntegrationCredentials(call, integrationId);
  },

  async ensureAccount(call, { provider }) {
    return { account: accountToProto((await ensureAccount(call, provider, 'renew')).account) };
  },

  async deleteAccount(call, { accountId, hereAlone }) {
    await deleteAccount(call, accountId, hereAlone);
    return {};
  },

  async checkProviderHealth(call, { provider }) {
    return { health: healthToProto(await checkProviderHealth(call, provider)) };
  },

  async checkAllProvidersHealth(call) {
    return { providers: (await checkAllProvidersHealth(call)).map(healthToProto) };
  },
});

function credentialsInput(request: SetIntegrationCredentialsRequest): IntegrationCredentials {
  const { clientId, clientSecrets, document } = request;
  if (!document) {
    if (!clientId && clientSecrets.length === 0) throw fieldInvalid('client_id', 'is required, or document');
    return { clientId, clientSecrets: clientSecrets.map((secret) => new SecretText(secret)) };
  }
  if (clientId || clientSecrets.length > 0) throw fieldInvalid('document', 'goes without client_id and client_secrets');
  return parseCredentialsDocument(document);
}
