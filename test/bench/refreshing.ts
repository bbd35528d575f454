import { secret } from '../harness/credentials.ts';
import { ADMIN_KEY, type Clients, clientsOf, transportTo } from '../harness/server.ts';
import type { BenchProcess } from './process.ts';

export function clientsTo(server: BenchProcess): Clients {
  return clientsOf(transportTo('grpc', server, { authorization: `Bearer ${ADMIN_KEY}` }));
}

/** An integration of a provider whose token endpoint is one of test/bench/token-endpoint.ts. */
export async function integration(
  { integrations }: Clients,
  name: string,
  { httpPort }: BenchProcess,
  path: string,
): Promise<string> {
  const tokenUrl = `http://127.0.0.1:${httpPort}${path}`;
  const authorizationUrl = 'http://127.0.0.1/authorize';
  await integrations.createProvider({ definition: { name, displayName: name, oauth: { tokenUrl, authorizationUrl } } });
  const { integration: made } = await integrations.createIntegration({ provider: name });
  await integrations.setIntegrationCredentials({ integrationId: made!.id, clientId: 'c', clientSecrets: ['s'] });
  return made!.id;
}

/** A connection whose token has expired. Answers its id. */
export async function importTokens({ connections }: Clients, integrationId: string, name: string): Promise<string> {
  const value = { accessToken: secret('at'), refreshToken: secret('rt'), expireTime: { seconds: 1n, nanos: 0 } };
  const credential = { kind: { case: 'oauth2' as const, value } };
  return (await connections.createConnection({ name, integrationId, credential })).connection!.id;
}

/** From an answer parsed to its tokens stored, p99: the upper end of the bucket of the server's histogram. */
export async function lossWindowP99Ms({ httpPort }: BenchProcess): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
  const buckets = metrics.matchAll(/^latchkey_token_refresh_loss_window_seconds_bucket\{le="([^"]+)"\} (\d+)$/gm);
  const counts = [...buckets].map(([, le, count]) => ({ le: Number(le?.replace('+', '')), count: Number(count) }));
  const all = counts.at(-1)?.count ?? 0;
  return (counts.find(({ count }) => count >= 0.99 * all)?.le ?? 0) * 1000;
}
