import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuthorizationMethod } from '../../gen/latchkey/v1/authorization_pb.ts';
import { connect, setUp } from '../harness/authorizations.ts';
import { clientCredentials, login, secret } from '../harness/credentials.ts';
import { failureOf } from '../harness/errors.ts';
import { type Listener, listenHttp } from '../harness/listener.ts';
import { type Clients, TestServer } from '../harness/server.ts';

let names = 0;

/** What a credential may have its tokens fetched from; both of the kinds that say it themselves. */
async function refusalsOf(clients: Clients, url: string) {
  const credentials = [clientCredentials({ tokenUrl: url }), login({ url, fields: { key: secret('k') } })];
  return Promise.all(
    credentials.map(async (credential) => {
      const { connection } = await clients.connections.createConnection({ name: `c-${++names}`, credential });
      return failureOf(clients.connections.getCredentials({ connectionId: connection!.id }));
    }),
  );
}

describe('A server as in production', () => {
  let server: TestServer;
  let target: Listener;
  let clients: Clients;
  beforeAll(async () => {
    server = await TestServer.start({ env: { EGRESS_ALLOW: 'allowed.example' } });
    target = await listenHttp((_, response) => response.end('{"access_token":"a","token_type":"bearer"}'));
    clients = await server.as('admin', { tenant: 'addresses' });
  });
  afterAll(async () => {
    await server.stop();
    await target[Symbol.asyncDispose]();
  });

  it.each([
    'http://169.254.169.254/latest/meta-data/',
    'http://[::ffff:169.254.169.254]/token',
    'http://2852039166/token',
    'http://0xa9.254.169.254/token',
    'http://10.0.0.1/token',
    'http://[fd00::1]/token',
    'http://127.0.0.1:{port}/token',
    'http://127.1:{port}/token',
    'http://localhost:{port}/token',
    'http://[::1]:{port}/token',
    'http://0.0.0.0:{port}/token',
  ])('fetches no token from %s', async (url) => {
    for (const failure of await refusalsOf(clients, url.replace('{port}', String(target.port))))
      expect(failure).toMatchObject({ code: 'PermissionDenied', reason: 'ADDRESS_FORBIDDEN' });
    expect(target.connections).toBe(0);
  });

  it('takes no provider with such an address, and calls none by such a name', async () => {
    const oauth = { authorizationUrl: 'https://x.example/a', scopes: { defaultScopes: ['a'] } };
    const definition = (tokenUrl: string, deviceAuthorizationUrl = '') => ({
      ...{ name: `p-${++names}`, displayName: 'P', oauth: { ...oauth, tokenUrl, deviceAuthorizationUrl } },
    });
    const literal = definition('http://169.254.169.254/token');
    const failure = await failureOf(clients.integrations.createProvider({ definition: literal }));
    expect(failure.reason).toBe('ADDRESS_FORBIDDEN');
    const url = `http://localhost:${target.port}/device`;
    const integrationId = await setUp(clients, definition('https://x.example/t', url));
    const starting = connect(clients, integrationId, 'mine', { method: AuthorizationMethod.DEVICE });
    expect((await failureOf(starting)).reason).toBe('ADDRESS_FORBIDDEN');
    expect(target.connections).toBe(0);
  });
});

describe('A server that may call loopback', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await TestServer.start();
  });
  afterAll(() => server.stop());

  it.each(['127.0.0.1', 'localhost', '127.1', '[::ffff:127.0.0.1]'])('does not call itself at %s', async (host) => {
    const clients = await server.as('admin', { tenant: 'addresses' });
    for (const port of [server.replica.grpcPort, server.replica.httpPort])
      for (const failure of await refusalsOf(clients, `http://${host}:${port}/token`))
        expect(failure).toMatchObject({ code: 'PermissionDenied', reason: 'ADDRESS_FORBIDDEN' });
  });
});
