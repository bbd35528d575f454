import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AuthorizationStatus } from '../../gen/latchkey/v1/authorization_pb.ts';
import { ConnectionStatus } from '../../gen/latchkey/v1/connection_pb.ts';
import { callbackUris, connect, setUp } from '../harness/authorizations.ts';
import { Browser } from '../harness/browser.ts';
import { failureOf } from '../harness/errors.ts';
import { CLIENT, OAuthServer } from '../harness/oauth-server.ts';
import { type Clients, TestServer } from '../harness/server.ts';

let server: TestServer;
let oauth: OAuthServer;
let clients: Clients;
let integrationId: string;
let tenants = 0;

const NAME = 'strict';

beforeAll(async () => {
  server = await TestServer.start();
  oauth = await OAuthServer.start({ redirectUris: callbackUris(server, NAME, `${NAME}-2`) });
});
afterAll(async () => {
  await server.stop();
  await oauth.stop();
});
beforeEach(async () => {
  clients = await server.as('admin', { tenant: `auth-${++tenants}` });
  oauth.account = 'ada';
  oauth.granted = null;
  oauth.declines = false;
  oauth.down.clear();
  oauth.requests.clear();
  integrationId = await setUp(clients, oauth.definition(NAME), { returnUrls: ['https://app.example.com'] });
});

const token = async (connectionId: string) => {
  const { credential, expireTime } = await clients.connections.getCredentials({ connectionId });
  if (credential?.kind.case !== 'oauth2') throw new Error(`a credential of the kind ${credential?.kind.case}`);
  const { accessToken, scopes } = credential.kind.value;
  return { accessToken: accessToken?.source.value as string, scopes, expireTime };
};

describe('Connecting an account', () => {
  it('goes from a click to a token that works', async () => {
    const started = await connect(clients, integrationId, 'mine');
    expect(started).toMatchObject({ status: AuthorizationStatus.PENDING });
    expect(new URL(started.url).origin).toBe(`http://localhost:${server.replica.httpPort}`);
    const pending = await clients.connections.getConnection({ connectionId: started.connectionId });
    expect(pending.connection?.status).toBe(ConnectionStatus.PENDING);
    const page = await new Browser().goto(started.url);
    expect(page).toMatchObject({ status: 200 });
    expect(page.text).toContain('Your account is connected');
    expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
    const { accessToken, expireTime, scopes } = await token(started.connectionId);
    const me = await fetch(`${oauth.url}/me`, { headers: { authorization: `Bearer ${accessToken}` } });
    expect(await me.json()).toMatchObject({ sub: 'ada', email: 'ada@example.com' });
    expect(scopes.sort()).toEqual(['email', 'openid', 'read']);
    const left = Number(expireTime!.seconds) * 1000 - Date.now();
    expect(left).toBeGreaterThan(500_000);
    const { connection } = await clients.connections.getConnection({ connectionId: started.connectionId });
    expect(connection).toMatchObject({
      status: ConnectionStatus.ACTIVE,
      provider: NAME,
      integrationId,
      providerAccountId: 'ada',
      providerAccountEmail: 'ada@example.com',
      baseUrl: `${oauth.url}/api`,
      missingScopes: [],
    });
    const { authorization } = await clients.connections.getAuthorization({ authorizationId: started.id });
    expect(authorization).toMatchObject({ status: AuthorizationStatus.SUCCEEDED, reason: '' });
    expect(oauth.count('/token')).toBe(1);
  });

  it('sends the person back to an allowed address with the outcome, by 303', async () => {
    const returnUrl = 'https://app.example.com/done?x=1';
    const { url, id } = await connect(clients, integrationId, 'mine', { returnUrl });
    const { url: at } = await new Browser().goto(url, { stopAt: 'https://app.example.com' });
    const arrived = new URL(at);
    expect(Object.fromEntries(arrived.searchParams)).toEqual({ x: '1', authorization_id: id, status: 'SUCCEEDED' });
  });

  it.each([
    'https://app.example.com.evil.com/',
    'https://app.example.com@evil.com/',
    'http://app.example.com/',
    'https://app.example.com:444/',
    'https://evil.com/https://app.example.com',
    'https://APP.example.com.evil.com',
  ])('refuses to send anybody back to %s', async (returnUrl) => {
    const failure = await failureOf(connect(clients, integrationId, 'mine', { returnUrl }));
    expect(failure).toMatchObject({ reason: 'FIELD_INVALID', fields: ['return_url'] });
  });

  it('keeps the connection as it was where the person declines', async () => {
    oauth.declines = true;
    const { url, id, connectionId } = await connect(clients, integrationId, 'mine');
    const page = await new Browser().goto(url);
    expect(page.status).toBe(400);
    expect(page.text).toContain('AUTHORIZATION_DENIED');
    const { authorization } = await clients.connections.getAuthorization({ authorizationId: id });
    expect(authorization).toMatchObject({
      status: AuthorizationStatus.FAILED,
      reason: 'AUTHORIZATION_DENIED',
      providerError: 'access_denied',
    });
    expect(oauth.count('/token')).toBe(0);
    expect(await failureOf(clients.connections.getCredentials({ connectionId }))).toMatchObject({
      reason: 'REAUTHORIZATION_REQUIRED',
      metadata: { cause: 'pending' },
    });
  });

  it('takes up a connection that was begun and never authorized', async () => {
    const first = await connect(clients, integrationId, 'mine');
    const second = await connect(clients, integrationId, 'mine');
    expect(second.connectionId).toBe(first.connectionId);
    await new Browser().goto(second.url);
    const failure = await failureOf(connect(clients, integrationId, 'mine'));
    expect(failure.reason).toBe('CONNECTION_NAME_TAKEN');
  });

  it('tries the next client secret where the first is refused', async () => {
    const clientSecrets = ['wrong-secret', CLIENT.clientSecrets[0]!];
    await clients.integrations.setIntegrationCredentials({ integrationId, clientId: CLIENT.clientId, clientSecrets });
    const { url, connectionId } = await connect(clients, integrationId, 'mine');
    expect((await new Browser().goto(url)).text).toContain('Your account is connected');
    expect((await token(connectionId)).accessToken).toBeTruthy();
    const clientSecretsOf = (await clients.integrations.getIntegration({ integrationId })).integration!.clientSecrets;
    expect(clientSecretsOf).toHaveLength(2);
  });

  it('says that the integration is misconfigured where every secret is refused', async () => {
    const clientSecrets = ['wrong-secret'];
    await clients.integrations.setIntegrationCredentials({ integrationId, clientId: CLIENT.clientId, clientSecrets });
    const { url, id } = await connect(clients, integrationId, 'mine');
    expect((await new Browser().goto(url)).text).toContain('INTEGRATION_MISCONFIGURED');
    const { authorization } = await clients.connections.getAuthorization({ authorizationId: id });
    expect(authorization).toMatchObject({ reason: 'INTEGRATION_MISCONFIGURED', providerError: 'invalid_client' });
    const { integration } = await clients.integrations.getIntegration({ integrationId });
    expect(integration?.lastError).toBe('invalid_client');
  });

  it('compares what was granted with what is required', async () => {
    await clients.integrations.updateIntegration({ integrationId, requiredScopes: { scopes: ['write'] } });
    oauth.granted = 'openid email read';
    const { url, connectionId, id } = await connect(clients, integrationId, 'mine');
    await new Browser().goto(url);
    const { authorization } = await clients.connections.getAuthorization({ authorizationId: id });
    expect(authorization?.missingScopes).toEqual(['write']);
    const failure = await failureOf(clients.connections.getCredentials({ connectionId }));
    expect(failure).toMatchObject({ reason: 'SCOPE_MISSING', metadata: { scopes: 'write' } });
    const status = await clients.connections.getConnectionStatus({ connectionId });
    expect(status).toMatchObject({ status: ConnectionStatus.MISCONFIGURED, missingScopes: ['write'] });
    const listed = await clients.connections.listConnections({ missingScope: 'write' });
    expect(listed.connections.map(({ id: found }) => found)).toEqual([connectionId]);
    expect((await clients.connections.listConnections({ missingScope: 'read' })).connections).toEqual([]);
    const misconfigured = await clients.connections.listConnections({ status: ConnectionStatus.MISCONFIGURED });
    expect(misconfigured.connections).toHaveLength(1);
    oauth.granted = null;
    await new Browser().goto(failure.metadata.reconnect_url!);
    expect((await token(connectionId)).scopes).toContain('write');
  });
});

describe('Reconnecting', () => {
  const reconnect = async (connectionId: string, allowAccountChange = false) => {
    const started = await clients.connections.startAuthorization({
      target: { case: 'connectionId', value: connectionId },
      allowAccountChange,
    });
    return { url: started.authorizationUrl, id: started.authorization!.id };
  };

  it('keeps the id, and the old credential until the new one is stored', async () => {
    const { url, connectionId } = await connect(clients, integrationId, 'mine');
    await new Browser().goto(url);
    const before = await token(connectionId);
    const again = await reconnect(connectionId);
    expect((await token(connectionId)).accessToken).toBe(before.accessToken);
    await new Browser().goto(again.url);
    const after = await token(connectionId);
    expect(after.accessToken).not.toBe(before.accessToken);
    expect((await clients.connections.listConnections({})).connections).toHaveLength(1);
  });

  it('refuses another account, unless asked to take it', async () => {
    const { url, connectionId } = await connect(clients, integrationId, 'mine');
    await new Browser().goto(url);
    const before = await token(connectionId);
    oauth.account = 'eve';
    const page = await new Browser().goto((await reconnect(connectionId)).url);
    expect(page.text).toContain('ACCOUNT_MISMATCH');
    expect((await token(connectionId)).accessToken).toBe(before.accessToken);
    await new Browser().goto((await reconnect(connectionId, true)).url);
    const { connection } = await clients.connections.getConnection({ connectionId });
    expect(connection?.providerAccountId).toBe('eve');
  });

  it('does not bring back what was revoked, but by who may start it', async () => {
    const { url, connectionId } = await connect(clients, integrationId, 'mine');
    await new Browser().goto(url);
    const before = await reconnect(connectionId);
    await clients.connections.revokeConnection({ connectionId });
    const failure = await failureOf(clients.connections.getCredentials({ connectionId }));
    expect(failure).toMatchObject({ reason: 'REAUTHORIZATION_REQUIRED', metadata: { cause: 'revoked' } });
    expect(failure.metadata.reconnect_url).toBeUndefined();
    expect((await new Browser().goto(before.url)).text).toContain('connection_revoked');
    const { connection } = await clients.connections.getConnection({ connectionId });
    expect(connection?.status).toBe(ConnectionStatus.REVOKED);
    await new Browser().goto((await reconnect(connectionId)).url);
    expect((await token(connectionId)).accessToken).toBeTruthy();
  });

  it('is open to who follows the link that GetCredentials answers', async () => {
    const { url, connectionId } = await connect(clients, integrationId, 'mine');
    await new Browser().goto(url);
    await server.database.sql(`update latchkey.connection set status = 'REAUTHORIZATION_REQUIRED' where id = $1`, [
      connectionId,
    ]);
    const failure = await failureOf(clients.connections.getCredentials({ connectionId }));
    expect(failure).toMatchObject({ reason: 'REAUTHORIZATION_REQUIRED', metadata: { cause: 'refused' } });
    const page = await new Browser().goto(failure.metadata.reconnect_url!);
    expect(page.text).toContain('Your account is connected');
    expect((await token(connectionId)).accessToken).toBeTruthy();
    const again = await new Browser().goto(failure.metadata.reconnect_url!);
    expect(again.text).toContain('AUTHORIZATION_STATE_INVALID');
    expect(server.logLines.join('')).not.toContain(failure.metadata.reconnect_url!.split('reconnect=')[1]);
    const forged = failure.metadata.reconnect_url!.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'));
    expect((await new Browser().goto(forged)).text).toContain('AUTHORIZATION_STATE_INVALID');
  });
});

describe('What comes back', () => {
  const callbackOf = async (browser: Browser, url: string) => {
    const { url: callback } = await browser.goto(url, { stopAt: callbackUris(server, NAME)[0]! });
    return callback;
  };

  it('is taken once: 200 at once make one exchange, and each is told of it', async () => {
    const browser = new Browser();
    const callback = await callbackOf(browser, (await connect(clients, integrationId, 'mine')).url);
    const pages = await Promise.all(
      Array.from({ length: 200 }, async () => {
        const response = await browser.request(callback);
        return { status: response.status, text: await response.text() };
      }),
    );
    expect(pages.filter(({ status }) => status === 200)).toHaveLength(200);
    expect(pages.every(({ text }) => text.includes('Your account is connected'))).toBe(true);
    expect(oauth.count('/token')).toBe(1);
  });

  it('is refused from another browser, without using it up', async () => {
    const browser = new Browser();
    const callback = await callbackOf(browser, (await connect(clients, integrationId, 'mine')).url);
    expect((await new Browser().goto(callback)).text).toContain('AUTHORIZATION_STATE_INVALID');
    const other = new Browser();
    await callbackOf(other, (await connect(clients, integrationId, 'other')).url);
    expect((await other.goto(callback)).text).toContain('AUTHORIZATION_STATE_INVALID');
    expect(oauth.count('/token')).toBe(0);
    expect((await browser.goto(callback)).text).toContain('Your account is connected');
  });

  it('is refused with a state that is unknown, or an answer that differs from the first', async () => {
    const browser = new Browser();
    const callback = await callbackOf(browser, (await connect(clients, integrationId, 'mine')).url);
    const unknown = new URL(callback);
    unknown.searchParams.set('state', 'A'.repeat(43));
    expect((await browser.goto(unknown.href)).text).toContain('AUTHORIZATION_STATE_INVALID');
    await browser.goto(callback);
    const changed = new URL(callback);
    changed.searchParams.set('code', 'another');
    expect((await browser.goto(changed.href)).text).toContain('AUTHORIZATION_STATE_INVALID');
    expect(oauth.count('/token')).toBe(1);
  });

  it.each([
    ['another issuer', (url: URL) => url.searchParams.set('iss', 'https://evil.example')],
    ['no issuer', (url: URL) => url.searchParams.delete('iss')],
  ])('is refused with %s, before any exchange', async (_, change) => {
    const browser = new Browser();
    const started = await connect(clients, integrationId, 'mine');
    const callback = new URL(await callbackOf(browser, started.url));
    change(callback);
    expect((await browser.goto(callback.href)).text).toContain('AUTHORIZATION_FAILED');
    expect(oauth.count('/token')).toBe(0);
    const { authorization } = await clients.connections.getAuthorization({ authorizationId: started.id });
    expect(authorization?.status).toBe(AuthorizationStatus.FAILED);
  });

  it('is refused at the address of another provider', async () => {
    await setUp(clients, oauth.definition(`${NAME}-2`));
    const browser = new Browser();
    const callback = await callbackOf(browser, (await connect(clients, integrationId, 'mine')).url);
    const elsewhere = callback.replace(`/oauth/callback/${NAME}`, `/oauth/callback/${NAME}-2`);
    expect((await browser.goto(elsewhere)).text).toContain('AUTHORIZATION_STATE_INVALID');
    expect(oauth.count('/token')).toBe(0);
  });

  it('shows markup as text', async () => {
    const browser = new Browser();
    const callback = new URL(await callbackOf(browser, (await connect(clients, integrationId, 'mine')).url));
    const markup = '"><script>alert(1)</script>';
    const state = callback.searchParams.get('state')!;
    const query = new URLSearchParams({
      state,
      error: markup,
      error_description: markup,
      iss: oauth.url,
      [markup]: markup,
    });
    const page = await browser.goto(`${callback.origin}${callback.pathname}?${query}`);
    expect(page.text).not.toContain('<script');
    expect(page.text).toContain('Provider said');
  });

  it('uses a ticket once', async () => {
    const { url } = await connect(clients, integrationId, 'mine');
    const [one, two] = await Promise.all([new Browser().goto(url), new Browser().goto(url)]);
    const connected = [one, two].filter((page) => page.text.includes('Your account is connected'));
    expect(connected).toHaveLength(1);
    expect((await new Browser().goto(url)).text).toContain('AUTHORIZATION_STATE_INVALID');
    expect(oauth.count('/token')).toBe(1);
  });

  it('is for nobody where the integration is disabled', async () => {
    const browser = new Browser();
    const { url, connectionId } = await connect(clients, integrationId, 'mine');
    const callback = await callbackOf(browser, url);
    await clients.integrations.disableIntegration({ integrationId });
    expect((await browser.goto(callback)).text).toContain('INTEGRATION_DISABLED');
    await clients.integrations.enableIntegration({ integrationId });
    expect((await failureOf(clients.connections.getCredentials({ connectionId }))).reason).toBe(
      'REAUTHORIZATION_REQUIRED',
    );
    await clients.integrations.disableIntegration({ integrationId });
    expect((await failureOf(connect(clients, integrationId, 'two'))).reason).toBe('INTEGRATION_DISABLED');
    expect((await failureOf(clients.connections.getCredentials({ connectionId }))).reason).toBe('INTEGRATION_DISABLED');
  });
});
