import type { MessageInitShape } from '@bufbuild/protobuf';
import type { StartAuthorizationRequest } from '../../gen/latchkey/v1/connection_service_pb.ts';
import type { CreateIntegrationRequest } from '../../gen/latchkey/v1/integration_service_pb.ts';
import type { ProviderDefinitionSchema } from '../../gen/latchkey/v1/provider_pb.ts';
import { Browser } from './browser.ts';
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

/** Goes to the provider and back for a new connection. Answers how it ended, and what became of the connection. */
export async function authorizeAt(clients: Clients, integrationId: string, name = 'mine') {
  const { url, id, connectionId } = await connect(clients, integrationId, name);
  const page = await new Browser().goto(url);
  const { authorization } = await clients.connections.getAuthorization({ authorizationId: id });
  const { connection } = await clients.connections.getConnection({ connectionId });
  return { page, connectionId, authorization: authorization!, connection: connection! };
}

/** The tokens that a connection hands out. */
export async function credentialOf({ connections }: Clients, connectionId: string) {
  const { credential, expireTime, headers } = await connections.getCredentials({ connectionId });
  if (credential?.kind.case !== 'oauth2') throw new Error(`a credential of the kind ${credential?.kind.case}`);
  const { accessToken, scopes, furtherTokens } = credential.kind.value;
  return { accessToken: accessToken?.source.value, scopes, furtherTokens, expireTime, headers };
}
