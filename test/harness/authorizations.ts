import type { MessageInitShape } from '@bufbuild/protobuf';
import type { StartAuthorizationRequest } from '../../gen/latchkey/v1/connection_service_pb.ts';
import type { CreateIntegrationRequest } from '../../gen/latchkey/v1/integration_service_pb.ts';
import type { ProviderDefinitionSchema } from '../../gen/latchkey/v1/provider_pb.ts';
import { CLIENT } from './oauth-server.ts';
import type { Clients, TestServer } from './server.ts';

type Fields<T> = Partial<Omit<T, '$typeName' | '$unknown'>>;

/** Where our server sends people back to from a custom provider. */
export function callbackUris(server: TestServer, ...providers: string[]): string[] {
  const origin = `http://localhost:${server.replica.httpPort}`;
  return providers.map((provider) => `${origin}/oauth/callback/${provider}`);
}

/** A provider of the tenant's own, set up with credentials. Answers the integration's id. */
export async function setUp(
  { integrations }: Clients,
  definition: MessageInitShape<typeof ProviderDefinitionSchema>,
  integration: Fields<CreateIntegrationRequest> = {},
  credentials = CLIENT,
): Promise<string> {
  await integrations.createProvider({ definition });
  const created = await integrations.createIntegration({ ...integration, provider: definition.name! });
  const integrationId = created.integration!.id;
  await integrations.setIntegrationCredentials({ integrationId, ...credentials });
  return integrationId;
}

/** Starts an authorization for a new connection. */
export async function connect(
  { connections }: Clients,
  integrationId: string,
  name: string,
  more: Fields<StartAuthorizationRequest> = {},
) {
  const started = await connections.startAuthorization({
    ...more,
    integrationId,
    target: { case: 'newConnection', value: { name } },
  });
  return { url: started.authorizationUrl, ...started.authorization! };
}
