import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { ConnectionStatus } from '../../gen/latchkey/v1/connection_pb.ts';
import { credentialOf, setUp } from '../harness/authorizations.ts';
import { clientCredentials } from '../harness/credentials.ts';
import { failureOf } from '../harness/errors.ts';
import { CLIENT } from '../harness/oauth-server.ts';
import { type Answer, ScriptedProvider } from '../harness/scripted-provider.ts';
import { type Clients, TestServer } from '../harness/server.ts';

let server: TestServer;
let provider: ScriptedProvider;
let clients: Clients;
let tenants = 0;

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
  clients = await server.as('admin', { tenant: `fetched-${++tenants}` });
});
afterEach(() => vi.useRealTimers());

type Fields = Parameters<typeof clientCredentials>[0];

async function create(fields: Fields = {}, name = 'c', by = clients): Promise<string> {
  const credential = clientCredentials({ tokenUrl: `${provider.url}/token`, ...fields });
  return (await by.connections.createConnection({ name, credential })).connection!.id;
}

const tokenOf = async (connectionId: string, by = clients) => (await credentialOf(by, connectionId)).accessToken;
const inSeconds = (s: number) => ({ seconds: BigInt(s) });

/** Lets so many seconds pass, for the tests and for the server in this process. */
function pass(seconds: number): void {
  const now = Date.now();
  vi.useFakeTimers({ toFake: ['Date'], now: now + seconds * 1000 });
}

describe('A token for a client itself', () => {
  it('is fetched when it is used, by the client’s own word', async () => {
    const connectionId = await create({
      ...{ scopes: ['a', 'b'], audience: 'https://api.example.com', resource: 'https://r.example.com' },
    });
    expect(provider.count('/token')).toBe(0);
    provider.answers('/token', { body: { access_token: 'at', token_type: 'Bearer', expires_in: 600, scope: 'a' } });
    const { accessToken, scopes, headers, expireTime } = await credentialOf(clients, connectionId);
    expect({ accessToken, scopes, headers }).toMatchObject({
      ...{ accessToken: 'at', scopes: ['a'], headers: [{ name: 'Authorization', value: 'Bearer at' }] },
    });
    expect(Math.abs(Number(expireTime!.seconds) - Date.now() / 1000 - 600)).toBeLessThan(10);
    expect(provider.to('/token')[0]!.body).toEqual({
      ...{ grant_type: 'client_credentials', client_id: 'me', client_secret: 'my-secret', scope: 'a b' },
      ...{ audience: 'https://api.example.com', resource: 'https://r.example.com' },
    });
  });

  it('is fetched by an integration’s client, too', async () => {
    const integrationId = await setUp(clients, provider.definition('scripted'));
    const credential = clientCredentials({ clientId: '', clientSecret: undefined, scopes: ['a'] });
    const { connection } = await clients.connections.createConnection({ name: 'c', credential, integrationId });
    expect(await tokenOf(connection!.id)).toMatch(/^at-/);
    expect(provider.to('/token')[0]!.body).toMatchObject({
      ...{ client_id: CLIENT.clientId, client_secret: CLIENT.clientSecrets[0], scope: 'a' },
    });
    await clients.integrations.disableIntegration({ integrationId });
    expect((await failureOf(tokenOf(connection!.id))).reason).toBe('INTEGRATION_DISABLED');
  });

  it('may be asked for with the client in the header', async () => {
    await tokenOf(await create({ clientAuthentication: 'client_secret_basic' }));
    const { headers, text } = provider.to('/token')[0]!;
    expect(headers.authorization).toBe(`Basic ${Buffer.from('me:my-secret').toString('base64')}`);
    expect(text).not.toContain('my-secret');
  });

  it('is asked for with a secret by reference, as that is at the time', async () => {
    await clients.secrets.createSecret({ name: 'theirs', value: 'first' });
    const connectionId = await create({ clientSecret: { source: { case: 'secretRef', value: 'theirs' } } });
    await tokenOf(connectionId);
    await clients.secrets.updateSecret({ name: 'theirs', value: 'second' });
    await tokenOf(connectionId);
    expect(provider.to('/token').map(({ body }) => body.client_secret)).toEqual(['first', 'second']);
  });

  it('cannot be had without a token endpoint', async () => {
    const credential = clientCredentials({ tokenUrl: '' });
    const failure = await failureOf(clients.connections.createConnection({ name: 'c', credential }));
    expect(failure).toMatchObject({ reason: 'FIELD_INVALID', fields: ['credential.client_credentials.token_url'] });
    const connectionId = await create();
    expect(await failureOf(clients.connections.updateConnection({ connectionId, credential }))).toMatchObject({
      ...{ reason: 'FIELD_INVALID', fields: ['credential.client_credentials.token_url'] },
    });
    expect(await tokenOf(connectionId)).toMatch(/^at-/);
  });

  it('is refused clearly where its connection is disabled', async () => {
    const connectionId = await create();
    await clients.connections.disableConnection({ connectionId });
    expect(await failureOf(tokenOf(connectionId))).toMatchObject({
      ...{ code: 'FailedPrecondition', reason: 'CONNECTION_DISABLED' },
    });
    const status = await clients.connections.getConnectionStatus({ connectionId });
    expect(status).toMatchObject({ status: ConnectionStatus.DISABLED, reason: 'CONNECTION_DISABLED' });
    expect(provider.count('/token')).toBe(0);
  });
});

describe('A token that is kept', () => {
  it('is fetched once for 100 who ask at once', async () => {
    const connectionId = await create();
    const tokens = await Promise.all(Array.from({ length: 100 }, () => tokenOf(connectionId)));
    expect(new Set(tokens).size).toBe(1);
    expect(provider.count('/token')).toBe(1);
  });

  it('is shared by connections of one client, for the same scopes', async () => {
    const [one, two, wider] = [await create(), await create({}, 'd'), await create({ scopes: ['more'] }, 'e')];
    expect(await tokenOf(one)).toBe(await tokenOf(two));
    expect(provider.count('/token')).toBe(1);
    expect(await tokenOf(wider)).not.toBe(await tokenOf(one));
    expect(provider.count('/token')).toBe(2);
  });

  it('is for nobody with a wrong secret, another audience, or of another tenant', async () => {
    provider.answers('/token', ({ body }) =>
      body.client_secret === 'my-secret'
        ? { body: { access_token: `for ${body.audience}`, token_type: 'bearer', expires_in: 600 } }
        : { status: 401, body: { error: 'invalid_client' } },
    );
    await tokenOf(await create());
    const wrong = await create({ clientSecret: { source: { case: 'value', value: 'guessed' } } }, 'd');
    expect((await failureOf(tokenOf(wrong))).reason).toBe('INTEGRATION_MISCONFIGURED');
    expect(await tokenOf(await create({ audience: 'a' }, 'e'))).toBe('for a');
    const stranger = await server.as('admin', { tenant: `fetched-${tenants}-other` });
    await tokenOf(await create({}, 'c', stranger), stranger);
    expect(provider.count('/token')).toBe(4);
  });

  it('is fetched anew 30 seconds before its end, once for all', async () => {
    provider.answers('/token', (asked) => ({
      body: { access_token: `at-${asked.at}-${provider.count('/token')}`, token_type: 'bearer', expires_in: 100 },
    }));
    const connectionId = await create();
    const first = await tokenOf(connectionId);
    pass(60);
    expect(await tokenOf(connectionId)).toBe(first);
    pass(11);
    const later = await Promise.all(Array.from({ length: 20 }, () => tokenOf(connectionId)));
    expect(new Set(later).size).toBe(1);
    expect(later[0]).not.toBe(first);
    expect(provider.count('/token')).toBe(2);
  });

  it('is fetched anew where a longer life is asked for than it has left', async () => {
    const connectionId = await create();
    const asked = (seconds: number) =>
      clients.connections.getCredentials({ connectionId, minValidFor: inSeconds(seconds) });
    await asked(3_500);
    pass(200);
    await asked(3_000);
    expect(provider.count('/token')).toBe(1);
    const { expireTime } = await asked(3_500);
    expect(Math.abs(Number(expireTime!.seconds) - Date.now() / 1000 - 3_600)).toBeLessThan(10);
    expect(provider.count('/token')).toBe(2);
  });

  it('is refused where no token lives as long as is asked for, without asking over and over', async () => {
    const connectionId = await create();
    for (let turn = 0; turn < 5; turn++) {
      const failure = await failureOf(
        clients.connections.getCredentials({ connectionId, minValidFor: inSeconds(7_200) }),
      );
      expect(failure).toMatchObject({ code: 'FailedPrecondition', reason: 'TOKEN_LIFETIME_TOO_SHORT' });
      expect(Number(failure.metadata.valid_for_s)).toBeGreaterThan(3_590);
    }
    expect(provider.count('/token')).toBe(1);
  });
});

describe('A token that cannot be fetched', () => {
  it.each<[Answer, string, string, number | null]>([
    [{ status: 401, body: { error: 'invalid_client' } }, 'INTEGRATION_MISCONFIGURED', 'FailedPrecondition', null],
    [{ status: 400, body: { error: 'invalid_scope' } }, 'INTEGRATION_MISCONFIGURED', 'FailedPrecondition', null],
    [{ status: 503 }, 'PROVIDER_UNAVAILABLE', 'Unavailable', 5_000],
    [{ status: 503, headers: { 'retry-after': '7' } }, 'PROVIDER_UNAVAILABLE', 'Unavailable', 7_000],
    [{ status: 429, headers: { 'retry-after': '9' } }, 'PROVIDER_RATE_LIMITED', 'ResourceExhausted', 9_000],
    [{ reset: 'after' }, 'PROVIDER_UNAVAILABLE', 'Unavailable', 5_000],
    [{ body: '<p>Hello</p>' }, 'AUTHORIZATION_FAILED', 'FailedPrecondition', null],
    [{ body: { access_token: 'a\nb', token_type: 'bearer' } }, 'AUTHORIZATION_FAILED', 'FailedPrecondition', null],
  ])('is not: %j', async (answer, reason, code, retryAfterMs) => {
    provider.answers('/token', answer, {});
    const connectionId = await create();
    expect(await failureOf(tokenOf(connectionId))).toMatchObject({ reason, code, retryAfterMs });
    expect(provider.count('/token')).toBe(1);
    provider.reset();
    expect(await tokenOf(connectionId)).toMatch(/^at-/);
  });

  it('is one failure for all who ask at once, noted once', async () => {
    provider.answers('/token', { status: 401, body: { error: 'invalid_client' } });
    const integrationId = await setUp(clients, provider.definition('scripted'));
    const credential = clientCredentials({ clientId: '', clientSecret: undefined });
    const { connection } = await clients.connections.createConnection({ name: 'c', credential, integrationId });
    await clients.connections.getConnection({ connectionId: connection!.id });
    const reasons = await Promise.all(
      Array.from({ length: 20 }, async () => (await failureOf(tokenOf(connection!.id))).reason),
    );
    expect(new Set(reasons)).toEqual(new Set(['INTEGRATION_MISCONFIGURED']));
    const { integration } = await clients.integrations.getIntegration({ integrationId });
    expect(integration!.lastError).toBe('invalid_client');
    const { entries } = await clients.audit.listAuditEntries({ pageSize: 100 });
    expect(entries.filter(({ action }) => action === 'integration_refused')).toHaveLength(1);
  });
});
