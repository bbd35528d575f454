import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AuthorizationStatus } from '../../gen/latchkey/v1/authorization_pb.ts';
import { authorizeAt, callbackUris, connect, setUp } from '../harness/authorizations.ts';
import { Browser } from '../harness/browser.ts';
import { CLIENT } from '../harness/oauth-server.ts';
import { type OAuthChanges, ScriptedProvider } from '../harness/scripted-provider.ts';
import { type Clients, TestServer } from '../harness/server.ts';

let server: TestServer;
let provider: ScriptedProvider;
let clients: Clients;
let tenants = 0;

const NAME = 'scripted';

beforeAll(async () => {
  server = await TestServer.start();
  provider = await ScriptedProvider.start();
});
afterAll(async () => {
  await server.stop();
  await provider.stop();
});
beforeEach(async () => {
  provider.reset();
  clients = await server.as('admin', { tenant: `requests-${++tenants}` });
});

/** The requests for tokens of one authorization. */
async function requestsOf(oauth: OAuthChanges, credentials = CLIENT) {
  const { authorization } = await authorizeAt(
    clients,
    await setUp(clients, provider.definition(NAME, oauth), {}, credentials),
  );
  expect(authorization.status).toBe(AuthorizationStatus.SUCCEEDED);
  return provider.to('/token');
}

const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

describe('The request for a token', () => {
  it('is a form with the client in it', async () => {
    const [request] = await requestsOf({});
    expect(request).toMatchObject({ method: 'POST', headers: { accept: 'application/json' } });
    expect(request!.headers['content-type']).toMatch(/^application\/x-www-form-urlencoded/);
    expect(request!.headers.authorization).toBeUndefined();
    expect(request!.body).toMatchObject({
      ...{ grant_type: 'authorization_code', client_id: CLIENT.clientId, client_secret: CLIENT.clientSecrets[0] },
      ...{ code: expect.stringMatching(/^code-/), redirect_uri: callbackUris(server, NAME)[0] },
    });
  });

  it('may be JSON', async () => {
    const [request] = await requestsOf({ bodyFormat: 'json' });
    expect(request!.headers['content-type']).toBe('application/json');
    expect(JSON.parse(request!.text)).toMatchObject({ grant_type: 'authorization_code', client_id: CLIENT.clientId });
  });

  it('has the headers of the definition, in place of our own', async () => {
    const tokenHeaders = { Accept: 'application/vnd.x+json', 'X-Version': '2026-11-01' };
    const [request] = await requestsOf({ tokenHeaders });
    expect(request!.headers).toMatchObject({ accept: 'application/vnd.x+json', 'x-version': '2026-11-01' });
  });

  it('may have the client in the header, each part encoded', async () => {
    const credentials = { clientId: 'a:b c', clientSecrets: ['s:ü/+%'] };
    const [request] = await requestsOf({ clientAuthentication: 'client_secret_basic' }, credentials);
    expect(request!.headers.authorization).toBe(basic('a%3Ab+c:s%3A%C3%BC%2F%2B%25'));
    expect(request!.body).not.toHaveProperty('client_secret');
  });

  it('may have the secret as the user name', async () => {
    const [request] = await requestsOf({ clientAuthentication: 'client_secret_as_username' });
    expect(request!.headers.authorization).toBe(basic(`${CLIENT.clientSecrets[0]}:`));
    expect(request!.text).not.toContain(CLIENT.clientSecrets[0]);
  });

  it('names the client alone where it has no secret', async () => {
    const [request] = await requestsOf({}, { clientId: 'public', clientSecrets: [] });
    expect(request!.body).toMatchObject({ client_id: 'public' });
    expect(request!.text).not.toContain('client_secret');
  });

  it('is made with the next secret only where the client is refused, and once with each', async () => {
    const credentials = { clientId: 'c', clientSecrets: ['one', 'two', 'three'] };
    provider.answers('/token', ({ body }) =>
      body.client_secret === 'two'
        ? { body: { access_token: 'at', token_type: 'bearer' } }
        : { status: 401, body: { error: 'invalid_client' } },
    );
    const requests = await requestsOf({}, credentials);
    expect(requests.map(({ body }) => body.client_secret)).toEqual(['one', 'two']);
    provider.reset();
    provider.answers('/token', { status: 400, body: { error: 'invalid_grant' } });
    const integrationId = await setUp(clients, provider.definition(`${NAME}-2`), {}, credentials);
    await authorizeAt(clients, integrationId, 'other');
    expect(provider.count('/token')).toBe(1);
  });

  it('says PKCE’s verifier, in place of which only a definition may say nothing', async () => {
    const [request] = await requestsOf({ pkce: 'none' });
    expect(provider.authorized.has('code_challenge')).toBe(false);
    expect(request!.body).not.toHaveProperty('code_verifier');
  });
});

describe('The request for an authorization', () => {
  it('has the scopes as the definition writes them', async () => {
    await requestsOf({
      scopes: { defaultScopes: ['a', 'b'], always: ['c'], separator: ',', parameter: 'user_scope' },
      authorizationParameters: { access_type: 'offline' },
    });
    const sent = Object.fromEntries(provider.authorized);
    expect(sent).toMatchObject({ user_scope: 'a,b,c', access_type: 'offline', response_type: 'code' });
    expect(sent).not.toHaveProperty('scope');
  });

  it('has the same redirect URI as the request for the token, on every path that there is for it', async () => {
    const paths = ['', '/auth/callback', '/connections/oauth/callback', '/api/connections/oauth/callback'];
    for (const [index, redirectPath] of paths.entries()) {
      const name = `${NAME}-${index}`;
      const integrationId = await setUp(clients, provider.definition(name), { redirectPath });
      const { integration } = await clients.integrations.getIntegration({ integrationId });
      const { authorization } = await authorizeAt(clients, integrationId, name);
      expect(authorization.status).toBe(AuthorizationStatus.SUCCEEDED);
      expect(integration!.redirectUri).toMatch(new RegExp(`${redirectPath || `/oauth/callback/${name}`}$`));
      expect(provider.authorized.get('redirect_uri')).toBe(integration!.redirectUri);
      expect(provider.to('/token').at(-1)!.body.redirect_uri).toBe(integration!.redirectUri);
    }
    expect(provider.count('/token')).toBe(paths.length);
  });

  it('keeps its redirect URI where the integration’s path is changed on the way', async () => {
    const integrationId = await setUp(clients, provider.definition(NAME), { redirectPath: '/auth/callback' });
    const { url } = await connect(clients, integrationId, 'mine');
    const browser = new Browser();
    const { url: callback } = await browser.goto(url, { stopAt: `http://localhost:${server.replica.httpPort}/auth/` });
    await clients.integrations.updateIntegration({ integrationId, redirectPath: '' });
    expect((await browser.goto(callback)).text).toContain('Your account is connected');
    expect(provider.to('/token')[0]!.body.redirect_uri).toMatch(/\/auth\/callback$/);
  });
});
