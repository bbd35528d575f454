import { fromJson, type JsonValue, type MessageInitShape, toJson } from '@bufbuild/protobuf';
import type { IntegrationSchema } from '../../gen/latchkey/v1/integration_pb.ts';
import {
  type ProviderDefinition as ProtoDefinition,
  ProviderDefinitionSchema,
  type ProviderSchema,
} from '../../gen/latchkey/v1/provider_pb.ts';
import type { KnownProvider } from '../domain/call.ts';
import type { IntegrationView } from '../domain/integrations/integration-view.ts';
import { capabilitiesOf } from '../providers/behaviours.ts';
import { isAtRisk, kindsOf, ONE_CRASH_BOUND_S } from '../providers/provider.ts';
import type { ProviderDefinition } from '../providers/types.ts';
import { toTimestamp } from './time.ts';

/** A definition has the same shape here and there: the contract's, in JSON. */
export function definitionInput(definition: ProtoDefinition): ProviderDefinition {
  return toJson(ProviderDefinitionSchema, definition) as ProviderDefinition;
}

/** A provider as the contract says it. */
export function providerToProto({ definition, custom, etag }: KnownProvider): MessageInitShape<typeof ProviderSchema> {
  return {
    ...{
      custom,
      etag,
      capabilities: custom ? [] : capabilitiesOf(definition.name),
      kinds: kindsOf(definition),
      atRisk: isAtRisk(definition, ONE_CRASH_BOUND_S),
    },
    definition: fromJson(ProviderDefinitionSchema, definition as JsonValue),
  };
}

/** An integration as the contract says it. */
export function integrationToProto({
  integration,
  redirectUri,
  secrets,
  connectionCounts,
}: IntegrationView): MessageInitShape<typeof IntegrationSchema> {
  const { id, provider, displayName, enabled, settings, scopes, requiredScopes, returnUrls, redirectPath, resource } =
    integration;
  const { appGroup, appGroupId, apps, syncAction, autoCreateUsers, clientId, lastError } = integration;
  return {
    ...{ id, provider, displayName, enabled, settings, scopes, requiredScopes, returnUrls, redirectPath, resource },
    ...{ appGroup, appGroupId, apps, syncAction, autoCreateUsers, clientId, lastError, redirectUri, connectionCounts },
    clientSecrets: secrets.map((secret) => ({ id: secret.id, createTime: toTimestamp(secret.createTime) })),
    lastErrorTime: toTimestamp(integration.lastErrorTime),
    createTime: toTimestamp(integration.createTime),
    updateTime: toTimestamp(integration.updateTime),
    etag: integration.etag(),
  };
}
