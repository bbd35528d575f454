import { TransportSecurity } from '../../gen/latchkey/v1/credential_pb.ts';
import type { SendWebhookResponse } from '../../gen/latchkey/v1/webhook_service_pb.ts';
import type { Egress } from '../../src/egress/egress.ts';
import { bearer, clientCredentials, login, secret } from './credentials.ts';
import type { Clients } from './server.ts';

/** The ways through the door, each as one call to a host and port. */
export const DOOR_WAYS: Record<string, (door: Egress, host: string, port: number) => Promise<unknown>> = {
  fetch: (door, host, port) => door.fetch(`http://${host}:${port}/`),
  'fetch on a connection of its own': (door, host, port) => door.fetch(`http://${host}:${port}/`, { fresh: true }),
  stream: (door, host, port) =>
    door.stream(`http://${host}:${port}/`, {
      signal: new AbortController().signal,
      idleMs: 5_000,
      maxBodyBytes: 1_000,
    }),
  relay: (door, host, port) =>
    door.relay(
      `http://${host}:${port}/`,
      { ...{ body: null, contentLength: null, headMs: 5_000, idleMs: 5_000 }, signal: new AbortController().signal },
      { start: () => true, data: () => true },
    ),
  connect: async (door, host, port) => {
    const socket = await door.connect(host.replace(/[[\]]/g, ''), port, {
      timeoutMs: 5_000,
      signal: new AbortController().signal,
    });
    socket.destroy();
  },
};

type Call = { clients: Clients; httpUrl: string; token: string; url: string; host: string; port: number };
type Credential = ReturnType<typeof bearer>;

let made = 0;
async function connect({ clients, url }: Call, credential = bearer('tok')): Promise<string> {
  const fields = { name: `outbound ${++made}`, baseUrl: url, credential, retries: 0 };
  return (await clients.connections.createConnection(fields)).connection!.id;
}

/** What a caller can have called, each as one call that ends in the error of the contract, or in the reason that its answer names. */
export const CALLERS_WAYS: Record<string, (call: Call) => Promise<unknown>> = {
  SendRequest: async (call) => call.clients.connections.sendRequest({ connectionId: await connect(call) }),
  'the proxy': async (call) => {
    const url = `${call.httpUrl}/proxy/${await connect(call)}/x`;
    const answer = await fetch(url, { headers: { authorization: `Bearer ${call.token}` } });
    return answer.json();
  },
  'a connector': async (call) => {
    const config = { connectionId: await connect(call) };
    const request = { name: `outbound ${++made}`, type: 'http', config };
    const { connector } = await call.clients.connectors.createConnector(request);
    return call.clients.connectors.executeConnector({ connectorId: connector!.id });
  },
  'a token by client credentials': async (call) =>
    call.clients.connections.getCredentials({
      connectionId: await connect(call, clientCredentials({ tokenUrl: call.url })),
    }),
  'a login': async (call) =>
    call.clients.connections.getCredentials({
      connectionId: await connect(call, login({ url: call.url, fields: { user: secret('u') } })),
    }),
  'a webhook': async ({ clients, url }) => outcomeOf(await clients.webhooks.sendWebhook({ url, attempts: 1 })),
  'a webhook of a connection': async (call) => {
    const connectionId = await connect(call);
    return outcomeOf(await call.clients.webhooks.sendWebhook({ connectionId, attempts: 1 }));
  },
  'a test over HTTP': async (call) => tested(call, bearer('tok')),
  'a test of a bucket': async (call) => {
    const value = { accessKeyId: 'A', secretAccessKey: secret('s'), bucket: 'mine', endpoint: call.url };
    return tested(call, { kind: { case: 'aws', value } });
  },
  'a test of a mail server': async (call) => tested(call, { kind: { case: 'smtp', value: serverOf(call) } }),
  'a test of a file server': async (call) => tested(call, { kind: { case: 'ftp', value: serverOf(call) } }),
};

/** A delivery that was not refused when it was asked for says why it failed. */
function outcomeOf({ delivery }: SendWebhookResponse) {
  return { reason: delivery?.attempts[0]?.error };
}

async function tested(call: Call, credential: Credential) {
  return call.clients.connections.testConnection({ connectionId: await connect(call, credential) });
}

function serverOf({ host, port }: Call) {
  const security = TransportSecurity.NONE;
  return { host: host.replace(/[[\]]/g, ''), port, security, username: 'u', password: secret('p') };
}
