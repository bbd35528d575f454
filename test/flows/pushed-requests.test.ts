import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AuthorizationStatus } from '../../gen/latchkey/v1/authorization_pb.ts';
import { authorizeAt, callbackUris, connect, setUp } from '../harness/authorizations.ts';
import { Browser } from '../harness/browser.ts';
import { failureOf } from '../harness/errors.ts';
import { OAuthServer } from '../harness/oauth-server.ts';
import { type Answer, ScriptedProvider } from '../harness/scripted-provider.ts';
import { type Clients, TestServer } from '../harness/server.ts';

let server: TestServer;
let strict: OAuthServer;
let provider: ScriptedProvider;
let clients: Clients;
let tenants = 0;

const NAME = 'pushed';
const RESOURCE = 'https://api.example.com/v1';

beforeAll(async () => {
  server = await TestServer.start();
  strict = await OAuthServer.start({ redirectUris: callbackUris(server, NAME), pushed: true });
  provider = await ScriptedProvider.start();
});
afterAll(async () => {
  await server.stop();
  await strict.stop();
  await provider.stop();
});
beforeEach(async () => {
  provider.reset();
  strict.requests.clear();
  clients = await server.as('admin', { tenant: `pushed-${++tenants}` });
});

const pushing = () => provider.definition(NAME, { pushedAuthorizationRequestUrl: `${provider.url}/par` });

describe('A provider that takes pushed requests alone', () => {
  it('is pushed the request, each time anew', async () => {
    const definition = strict.definition(NAME, { pushedAuthorizationRequestUrl: `${strict.url}/request` });
    const integrationId = await setUp(clients, definition);
    for (const name of ['one', 'two']) {
      const { page } = await authorizeAt(clients, integrationId, name);
      expect(page.text).toContain('Your account is connected');
    }
    expect(strict.count('/request')).toBe(2);
    expect(strict.count('/token')).toBe(2);
  });

  it('makes the integration misconfigured where its definition does not say so', async () => {
    const { authorization } = await authorizeAt(clients, await setUp(clients, strict.definition(NAME)));
    expect(authorization).toMatchObject({
      ...{ status: AuthorizationStatus.FAILED, reason: 'INTEGRATION_MISCONFIGURED', providerError: 'invalid_request' },
    });
    expect(strict.count('/token')).toBe(0);
    const { integration } = await clients.integrations.getIntegration({ integrationId: authorization.integrationId });
    // A browser brought it: that is no word against the integration.
    expect(integration!.lastError).toBe('');
  });
});

describe('A request that is pushed', () => {
  it('shows the browser a reference, and nothing of itself', async () => {
    const { url } = await connect(clients, await setUp(clients, pushing(), { resource: RESOURCE }), 'mine');
    const { url: at } = await new Browser().goto(url, { stopAt: `${provider.url}/authorize` });
    expect([...new URL(at).searchParams.keys()].sort()).toEqual(['client_id', 'request_uri']);
    expect(provider.to('/par')[0]!.body).toMatchObject({
      ...{ response_type: 'code', code_challenge_method: 'S256', resource: RESOURCE, client_secret: 'right-secret' },
      redirect_uri: callbackUris(server, NAME)[0],
    });
  });

  it.each<[string, Answer, string]>([
    ['invalid_target', { status: 400, body: { error: 'invalid_target' } }, 'INTEGRATION_MISCONFIGURED'],
    ['invalid_client', { status: 401, body: { error: 'invalid_client' } }, 'INTEGRATION_MISCONFIGURED'],
    ['http_503', { status: 503 }, 'PROVIDER_UNAVAILABLE'],
    ['http_429', { status: 429, headers: { 'retry-after': '9' } }, 'PROVIDER_RATE_LIMITED'],
    ['', { status: 201, body: { expires_in: 60 } }, 'AUTHORIZATION_FAILED'],
    ['', { reset: 'after' }, 'PROVIDER_UNAVAILABLE'],
  ])('and refused with %j ends the authorization', async (providerError, answer, reason) => {
    provider.answers('/par', answer);
    const integrationId = await setUp(clients, pushing());
    const { page, authorization } = await authorizeAt(clients, integrationId);
    expect(page.text).toContain(reason);
    expect(authorization).toMatchObject({ status: AuthorizationStatus.FAILED, reason });
    if (providerError) expect(authorization.providerError).toBe(providerError);
    expect(provider.count('/par')).toBe(1);
    const { integration } = await clients.integrations.getIntegration({ integrationId });
    expect(integration!.lastError).toBe(reason === 'INTEGRATION_MISCONFIGURED' ? providerError : '');
  });

  it('and refused to an application fails the call', async () => {
    provider.answers('/par', { status: 400, body: { error: 'invalid_target' } });
    const integrationId = await setUp(clients, pushing(), { returnUrls: ['https://app.example.com'] });
    const failure = await failureOf(
      connect(clients, integrationId, 'mine', { redirectUri: 'https://app.example.com/back' }),
    );
    expect(failure).toMatchObject({
      reason: 'INTEGRATION_MISCONFIGURED',
      metadata: { provider_error: 'invalid_target' },
    });
  });
});

describe('A resource', () => {
  it('is named to the authorization and to the token endpoint', async () => {
    const integrationId = await setUp(clients, provider.definition(NAME), { resource: RESOURCE });
    await authorizeAt(clients, integrationId);
    expect(provider.authorized.get('resource')).toBe(RESOURCE);
    expect(provider.to('/token')[0]!.body.resource).toBe(RESOURCE);
  });

  it.each(['at the authorization endpoint', 'at the token endpoint'])(
    'that is refused %s makes the integration misconfigured',
    async (where) => {
      if (where.includes('token')) provider.answers('/token', { status: 400, body: { error: 'invalid_target' } });
      else provider.callbackParameters = { error: 'invalid_target' };
      const integrationId = await setUp(clients, provider.definition(NAME), { resource: RESOURCE });
      const { authorization } = await authorizeAt(clients, integrationId);
      expect(authorization).toMatchObject({ reason: 'INTEGRATION_MISCONFIGURED', providerError: 'invalid_target' });
      expect(provider.count('/token')).toBe(where.includes('token') ? 1 : 0);
    },
  );
});
