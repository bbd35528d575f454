import { generateKeyPair, UnsecuredJWT } from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AuthorizationStatus } from '../../gen/latchkey/v1/authorization_pb.ts';
import { authorizeAt, setUp } from '../harness/authorizations.ts';
import { listenHttp } from '../harness/listener.ts';
import { CLIENT } from '../harness/oauth-server.ts';
import { type OAuthChanges, ScriptedProvider } from '../harness/scripted-provider.ts';
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
  clients = await server.as('admin', { tenant: `id-tokens-${++tenants}` });
});

type MakeToken = () => string | undefined | Promise<string | undefined>;

async function authorize(idToken: MakeToken, changes: OAuthChanges = {}) {
  provider.answers('/token', async () => ({
    body: { access_token: 'at', token_type: 'Bearer', expires_in: 60, id_token: await idToken() },
  }));
  const oauth: OAuthChanges = {
    issuer: provider.url,
    jwksUrl: `${provider.url}/jwks`,
    scopes: { defaultScopes: ['openid', 'read'] },
    identity: {
      from: 'id_token',
      accountId: ['/sub'],
      email: ['/email'],
      emailVerified: '/email_verified',
    },
    ...changes,
  };
  return authorizeAt(clients, await setUp(clients, provider.definition('scripted', oauth)));
}

const inSeconds = (s: number) => Math.floor(Date.now() / 1000) + s;

describe('An id_token', () => {
  it('says whose account it is', async () => {
    const { connection } = await authorize(() => provider.idToken({ sub: 'grace', email: 'g@example.com' }));
    expect(connection).toMatchObject({ providerAccountId: 'grace', providerAccountEmail: 'g@example.com' });
    expect(provider.count('/jwks')).toBe(1);
  });

  it.each<[string, MakeToken]>([
    ['by another key', async () => provider.idToken({}, (await generateKeyPair('RS256')).privateKey)],
    [
      'by the client secret',
      () => provider.idToken({}, new TextEncoder().encode(CLIENT.clientSecrets[0]!.padEnd(32)), 'HS256'),
    ],
    [
      'by nobody',
      () => {
        const usual = { iss: provider.url, aud: CLIENT.clientId, sub: 'ada', nonce: provider.authorized.get('nonce') };
        return new UnsecuredJWT(usual).setIssuedAt().setExpirationTime('5m').encode();
      },
    ],
    ['and then changed', async () => `${(await provider.idToken()).slice(0, -8)}AAAAAAAA`],
  ])('is refused where it is signed %s', async (_, idToken) => {
    const { authorization, connection } = await authorize(idToken);
    expect(authorization).toMatchObject({ status: AuthorizationStatus.FAILED, reason: 'AUTHORIZATION_FAILED' });
    expect(connection.providerAccountId).toBe('');
    expect(provider.count('/token')).toBe(1);
  });

  it.each<[string, MakeToken]>([
    ['of another issuer', () => provider.idToken({ iss: 'https://evil.example' })],
    ['for another audience', () => provider.idToken({ aud: 'somebody-else' })],
    ['for two, and not for us', () => provider.idToken({ aud: ['a', 'b'], azp: 'a' })],
    ['for us among others, made for one of those', () => provider.idToken({ aud: [CLIENT.clientId, 'b'], azp: 'b' })],
    ['of another authorization', () => provider.idToken({ nonce: 'another' })],
    ['without a nonce', () => provider.idToken({ nonce: undefined })],
    ['expired', () => provider.idToken({ iat: inSeconds(-700), exp: inSeconds(-400) })],
    ['without an end', () => provider.idToken({ exp: undefined })],
    ['from later', () => provider.idToken({ nbf: inSeconds(400) })],
    ['about nobody', () => provider.idToken({ sub: undefined })],
    ['no JWT', () => 'e30.e30'],
    ['missing, though it was asked for', () => undefined],
  ])('is refused where it is %s', async (_, idToken) => {
    const { authorization, connection } = await authorize(idToken);
    expect(authorization).toMatchObject({ status: AuthorizationStatus.FAILED, reason: 'AUTHORIZATION_FAILED' });
    expect(connection.providerAccountId).toBe('');
    expect(provider.count('/token')).toBe(1);
  });

  it.each<[string, () => void]>([
    ['do not come', () => provider.answers('/jwks', { status: 503 })],
    ['are none', () => provider.answers('/jwks', { body: { keys: [] } })],
    ['are a page', () => provider.answers('/jwks', { body: '<p>keys</p>' })],
    ['are too many', () => provider.answers('/jwks', { body: { keys: [], padding: 'x'.repeat(300 * 1024) } })],
  ])('is refused where the keys %s', async (_, arrange) => {
    arrange();
    const { authorization } = await authorize(() => provider.idToken());
    expect(authorization.status).toBe(AuthorizationStatus.FAILED);
    expect(provider.count('/jwks')).toBe(1);
  });

  it('is verified by no keys from elsewhere', async () => {
    await using elsewhere = await listenHttp((_, response) => response.end('{"keys":[]}'));
    provider.answers('/jwks', { status: 302, headers: { location: elsewhere.url } });
    const { authorization } = await authorize(() => provider.idToken());
    expect(authorization).toMatchObject({ status: AuthorizationStatus.FAILED, reason: 'AUTHORIZATION_FAILED' });
    expect(elsewhere.connections).toBe(0);
  });

  it('is not read where there are no keys to verify it with', async () => {
    const identity = { url: `${provider.url}/me`, accountId: ['/sub'] };
    const { connection } = await authorize(() => 'junk', { jwksUrl: '', identity });
    expect(connection.providerAccountId).toBe('ada');
    expect(provider.count('/jwks')).toBe(0);
    expect(provider.authorized.has('nonce')).toBe(false);
  });

  it('yields no address where it has none', async () => {
    const { connection } = await authorize(() => provider.idToken({ email: 'not an address' }));
    expect(connection).toMatchObject({ providerAccountId: 'ada', providerAccountEmail: '' });
  });
});
