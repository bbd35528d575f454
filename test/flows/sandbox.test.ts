import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Client, createClient } from '@connectrpc/connect';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { AuthorizationMethod, AuthorizationStatus } from '../../gen/latchkey/v1/authorization_pb.ts';
import { ConnectionStatus } from '../../gen/latchkey/v1/connection_pb.ts';
import { ConnectionService } from '../../gen/latchkey/v1/connection_service_pb.ts';
import { IntegrationService } from '../../gen/latchkey/v1/integration_service_pb.ts';
import { checkDefinition } from '../../src/providers/check-definition.ts';
import { SANDBOX_CLIENT } from '../../src/sandbox/client.ts';
import { sandboxProvider } from '../../src/sandbox/provider-entry.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { FormBrowser, textOf } from '../harness/form-browser.ts';
import { ServerProcess } from '../harness/process.ts';
import { ADMIN_KEY, newMasterKey, testEnv, transportTo } from '../harness/server.ts';

type Api = { connections: Client<typeof ConnectionService>; integrations: Client<typeof IntegrationService> };

let database: TestDatabase;
const masterKey = newMasterKey();
beforeAll(async () => {
  database = await createTestDatabase();
});
afterAll(() => database.drop());

const started = (env: Record<string, string>) =>
  ServerProcess.ready({ ...testEnv(database, masterKey), SANDBOX_PORT: '0', LOG_LEVEL: 'info', ...env });

function apiOf(server: ServerProcess): Api {
  const transport = transportTo('connect', server, { authorization: `Bearer ${ADMIN_KEY}` });
  return {
    connections: createClient(ConnectionService, transport),
    integrations: createClient(IntegrationService, transport),
  };
}

const names = async ({ integrations }: Api) =>
  (await integrations.listProviders({ pageSize: 100 })).providers.map(({ definition }) => definition!.name);

describe('The sandbox', () => {
  let server: ServerProcess;
  let api: Api;
  let url: string;
  let integrationId: string;

  beforeAll(async () => {
    server = await started({});
    api = apiOf(server);
    const { provider } = await api.integrations.getProvider({ name: 'sandbox' });
    url = provider!.definition!.oauth!.issuer;
    const { integration } = await api.integrations.createIntegration({ provider: 'sandbox' });
    integrationId = integration!.id;
    await api.integrations.setIntegrationCredentials({
      ...{ integrationId, clientId: SANDBOX_CLIENT.id, clientSecrets: [SANDBOX_CLIENT.secret] },
    });
  });
  afterAll(() => server.stop());

  const start = (name: string, scopes: string[] = []) =>
    api.connections.startAuthorization({
      ...{ integrationId, scopes, target: { case: 'newConnection', value: { name } } },
    });

  async function whoIs(connectionId: string): Promise<{ status: number; body: unknown }> {
    const { headers } = await api.connections.getCredentials({ connectionId });
    const answer = await fetch(`${url}/me`, { headers: headers.map(({ name, value }) => [name, value]) });
    return { status: answer.status, body: await answer.json() };
  }

  it('has a definition that obeys the rules of every definition', () => {
    expect(() => checkDefinition(sandboxProvider(url), '')).not.toThrow();
  });

  it('connects the account that a person chooses, with a token that works there', async () => {
    const { authorization, authorizationUrl } = await start('grace', ['profile']);
    const browser = new FormBrowser();
    const consent = await browser.open(authorizationUrl);
    expect(consent.url.origin).toBe(url);
    expect(consent.html).not.toMatch(/<script|https?:/);
    expect(consent.headers.get('content-security-policy')).toContain("default-src 'none'");
    const end = await browser.send(consent, { choose: { person: 'grace' }, press: 'allow' });
    expect(end).toMatchObject({ status: 200 });
    expect(end.url.origin).toBe(`http://localhost:${server.httpPort}`);
    expect(textOf(end)).toContain('Your account is connected');
    const { connectionId } = authorization!;
    expect(await whoIs(connectionId)).toEqual({
      status: 200,
      body: { sub: 'grace', name: 'Grace Hopper', email: 'grace@example.com', email_verified: true },
    });
    const { connection } = await api.connections.getConnection({ connectionId });
    expect(connection).toMatchObject({
      ...{ status: ConnectionStatus.ACTIVE, providerAccountId: 'grace', providerAccountEmail: 'grace@example.com' },
      missingScopes: [],
    });
  });

  it('lets the same browser be somebody else the next time', async () => {
    const browser = new FormBrowser();
    for (const person of ['ada', 'alan']) {
      const { authorization, authorizationUrl } = await start(`one browser, ${person}`);
      await browser.send(await browser.open(authorizationUrl), { choose: { person }, press: 'allow' });
      expect(await whoIs(authorization!.connectionId)).toMatchObject({ body: { sub: person } });
    }
  });

  it('grants what is ticked alone', async () => {
    const { authorization, authorizationUrl } = await start('less', ['notes:write']);
    const browser = new FormBrowser();
    await browser.send(await browser.open(authorizationUrl), { untick: ['notes:write'], press: 'allow' });
    const answer = await api.connections.getAuthorization({ authorizationId: authorization!.id });
    expect(answer.authorization).toMatchObject({
      ...{ status: AuthorizationStatus.SUCCEEDED, missingScopes: ['notes:write'] },
    });
  });

  it('denies, which is said on the page and leaves the connection as it was', async () => {
    const { authorization, authorizationUrl } = await start('denied');
    const browser = new FormBrowser();
    const end = await browser.send(await browser.open(authorizationUrl), { press: 'deny' });
    expect(end.status).toBe(400);
    expect(textOf(end)).toContain('AUTHORIZATION_DENIED');
    expect(textOf(end)).toContain('access_denied');
    const { connection } = await api.connections.getConnection({ connectionId: authorization!.connectionId });
    expect(connection!.status).toBe(ConnectionStatus.PENDING);
  });

  it('connects a device', async () => {
    const { authorization } = await api.connections.startAuthorization({
      ...{ integrationId, method: AuthorizationMethod.DEVICE },
      target: { case: 'newConnection', value: { name: 'device' } },
    });
    const browser = new FormBrowser();
    const code = await browser.send(await browser.open(authorization!.verificationUri), {
      choose: { user_code: authorization!.userCode },
    });
    expect(textOf(code)).toContain(authorization!.userCode);
    const end = await browser.send(await browser.send(code), { choose: { person: 'alan' }, press: 'allow' });
    expect(textOf(end)).toContain('The device is connected');
    let status: AuthorizationStatus = AuthorizationStatus.PENDING;
    for await (const said of api.connections.watchAuthorization({ authorizationId: authorization!.id }))
      status = said.authorization!.status;
    expect(status).toBe(AuthorizationStatus.SUCCEEDED);
    expect(await whoIs(authorization!.connectionId)).toMatchObject({ body: { sub: 'alan' } });
  });

  it('is strict: no request without PKCE, no redirect to an address that is not registered', async () => {
    const request = (extra: Record<string, string>) =>
      new FormBrowser().open(
        `${url}/auth?${new URLSearchParams({
          ...{ client_id: SANDBOX_CLIENT.id, response_type: 'code', scope: 'openid', state: 's' },
          redirect_uri: `http://localhost:${server.httpPort}/oauth/callback`,
          ...extra,
        })}`,
      );
    const withoutPkce = await request({});
    expect(withoutPkce.url.pathname).toBe('/oauth/callback');
    expect(withoutPkce.url.searchParams.get('error')).toBe('invalid_request');
    expect(withoutPkce.url.searchParams.get('iss')).toBe(url);
    const pkce = { code_challenge: 'a'.repeat(43), code_challenge_method: 'S256' };
    const elsewhere = await request({ ...pkce, redirect_uri: `http://localhost:${server.httpPort}/oauth/callback/x` });
    expect(elsewhere).toMatchObject({ status: 400, url: { origin: url } });
    expect(textOf(elsewhere)).toContain('invalid_redirect_uri');
  });

  it('says nothing to the log', () => {
    expect(server.output).not.toMatch(/oidc-provider|sandbox failed/);
  });
});

describe('npm run demo', () => {
  const demo = (env: Record<string, string>) => ServerProcess.command(env, 'demo').exited;

  it('connects an account of a sandbox that workers share, and does so again', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((done) => taken.once('listening', done));
    const server = await started({ WORKERS: '2', SANDBOX_PORT: String((taken.address() as AddressInfo).port) });
    try {
      const env = { LATCHKEY_URL: `http://localhost:${server.httpPort}`, LATCHKEY_KEY: ADMIN_KEY };
      for (const _time of [1, 2]) {
        const { code, output } = await demo(env);
        expect(output).toContain('"email":"ada@example.com"');
        expect(code).toBe(0);
      }
      expect(await demo({ ...env, LATCHKEY_KEY: 'wrong' })).toMatchObject({
        ...{ code: 1, output: expect.stringContaining('LATCHKEY_KEY is no key of this server') },
      });
    } finally {
      expect(await server.stop()).toMatchObject({ code: 0 });
      taken.close();
    }
  });

  it('says what is missing', async () => {
    const url = 'http://localhost:1';
    expect(await demo({ LATCHKEY_URL: url })).toMatchObject({
      ...{ code: 1, output: expect.stringContaining('LATCHKEY_KEY is required') },
    });
    expect(await demo({ LATCHKEY_URL: url, LATCHKEY_KEY: 'k' })).toMatchObject({
      ...{ code: 1, output: expect.stringContaining('No Latchkey answers at http://localhost:1') },
    });
  });
});

describe('Without a sandbox', () => {
  it.each([
    ['in production', { NODE_ENV: 'production' }, /^(?!.*sandbox)/s],
    ['where it is turned off', { SANDBOX: 'off' }, /^(?!.*sandbox)/s],
    ['where calls may not reach it', { EGRESS_ALLOW: '10.0.0.0/8' }, /EGRESS_ALLOW lets no call reach 127\.0\.0\.1/],
  ])('%s, there is no such provider', async (_name, env, said) => {
    const server = await started(env);
    try {
      expect(await names(apiOf(server))).not.toContain('sandbox');
      expect(await names(apiOf(server))).toContain('google');
      expect(server.output).toMatch(said);
    } finally {
      await server.stop();
    }
  });

  it('production does not start with it', async () => {
    const env = { ...testEnv(database, masterKey), NODE_ENV: 'production', SANDBOX: 'on' };
    expect(await new ServerProcess(env).exited).toMatchObject({
      ...{ code: 1, output: expect.stringContaining('SANDBOX=on is not for production') },
    });
  });
});
