import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { login, secret } from '../harness/credentials.ts';
import { failureOf } from '../harness/errors.ts';
import { type Answer, ScriptedProvider } from '../harness/scripted-provider.ts';
import { type Clients, TestServer } from '../harness/server.ts';

let server: TestServer;
let provider: ScriptedProvider;
let clients: Clients;
let tenants = 0;

/** What no template and no format may stumble over. */
const PASSWORD = 'a"b\\c{user}&d=e +%\n\'<ü😀>$&$1';

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
  provider.answers('/login', { body: { access_token: 'session', expires_in: 600 } });
  clients = await server.as('admin', { tenant: `logins-${++tenants}` });
});
afterEach(() => vi.useRealTimers());

async function create(fields: Record<string, unknown> = {}): Promise<string> {
  const credential = login({
    url: `${provider.url}/login`,
    fields: { user: secret('lovelace'), password: secret(PASSWORD) },
    ...fields,
  });
  return (await clients.connections.createConnection({ name: 'c', credential })).connection!.id;
}

const headersOf = async (connectionId: string) =>
  (await clients.connections.getCredentials({ connectionId })).headers.map(({ name, value }) => `${name}: ${value}`);

describe('A two-step login', () => {
  it('sends the fields as JSON, and hands the token out', async () => {
    const connectionId = await create();
    expect(await headersOf(connectionId)).toEqual(['Authorization: Bearer session']);
    const [request] = provider.to('/login');
    expect(request).toMatchObject({ method: 'POST', body: { user: 'lovelace', password: PASSWORD } });
    expect(request!.headers['content-type']).toBe('application/json');
    const { credential } = await clients.connections.getCredentials({ connectionId });
    expect(credential!.kind).toMatchObject({ case: 'apiKey', value: { key: { source: { value: 'session' } } } });
    expect(provider.count('/login')).toBe(1);
  });

  it('puts each secret into its template once, escaped for JSON', async () => {
    await headersOf(await create({ bodyTemplate: '{"auth":{"name":"{user}","pass":"{password}"},"keep":"{other}"}' }));
    expect(JSON.parse(provider.to('/login')[0]!.text)).toEqual({
      ...{ auth: { name: 'lovelace', pass: PASSWORD }, keep: '{other}' },
    });
  });

  it('puts each secret into its template once, escaped for a form', async () => {
    await headersOf(await create({ bodyFormat: 'form', bodyTemplate: 'u={user}&p={password}&grant=x' }));
    const [request] = provider.to('/login');
    expect(request!.headers['content-type']).toBe('application/x-www-form-urlencoded');
    expect(request!.body).toEqual({ u: 'lovelace', p: PASSWORD, grant: 'x' });
  });

  it('sends the fields as a form', async () => {
    await headersOf(await create({ bodyFormat: 'form' }));
    expect(provider.to('/login')[0]!.body).toEqual({ user: 'lovelace', password: PASSWORD });
  });

  it('sends its headers in place of our own', async () => {
    await headersOf(await create({ headers: { 'Content-Type': 'text/x', Accept: 'application/x', 'X-Tenant': 't' } }));
    expect(provider.to('/login')[0]!.headers).toMatchObject({
      ...{ 'content-type': 'application/json', accept: 'application/x', 'x-tenant': 't' },
    });
  });

  it.each([
    [{}, 'Authorization: Bearer session'],
    [{ header: 'X-Session' }, 'X-Session: session'],
    [{ header: 'X-Session', prefix: 'Token ' }, 'X-Session: Token session'],
    [{ prefix: 'JWT ' }, 'Authorization: JWT session'],
  ])('hands the token out in the header that is asked for: %j', async (fields, header) => {
    expect(await headersOf(await create(fields))).toEqual([header]);
  });

  it('finds token and life where the pointers say', async () => {
    provider.answers('/login', { body: { data: [{ 'a/b': 'deep' }], ttl: '60' } });
    const connectionId = await create({ tokenPointer: '/data/0/a~1b', expiresInPointer: '/ttl' });
    const { headers, expireTime } = await clients.connections.getCredentials({ connectionId });
    expect(headers[0]!.value).toBe('Bearer deep');
    expect(Math.abs(Number(expireTime!.seconds) - Date.now() / 1000 - 60)).toBeLessThan(10);
  });

  it.each<[string, Answer, string]>([
    ['401', { status: 401, body: { error: 'no' } }, 'INTEGRATION_MISCONFIGURED'],
    ['403', { status: 403 }, 'AUTHORIZATION_FAILED'],
    ['503', { status: 503 }, 'PROVIDER_UNAVAILABLE'],
    ['429', { status: 429 }, 'PROVIDER_RATE_LIMITED'],
    ['a redirect', { status: 302, headers: { location: '/elsewhere' } }, 'AUTHORIZATION_FAILED'],
    ['no token', { body: { token: 'x' } }, 'AUTHORIZATION_FAILED'],
    ['a page', { body: '<p>Hello</p>' }, 'AUTHORIZATION_FAILED'],
    ['a token that no header can carry', { body: { access_token: 'a\r\nb: c' } }, 'AUTHORIZATION_FAILED'],
    ['a reset', { reset: 'after' }, 'PROVIDER_UNAVAILABLE'],
  ])('fails where the answer is %s', async (_, answer, reason) => {
    provider.answers('/login', answer);
    const failure = await failureOf(headersOf(await create()));
    expect(failure.reason).toBe(reason);
    expect(provider.requests).toHaveLength(1);
    expect(JSON.stringify(failure)).not.toContain('lovelace');
  });
});

describe('The token of a login', () => {
  it('is fetched once for all, and anew before its end', async () => {
    provider.answers('/login', () => ({ body: { access_token: `s-${provider.count('/login')}`, expires_in: 100 } }));
    const connectionId = await create();
    const all = await Promise.all(Array.from({ length: 50 }, () => headersOf(connectionId)));
    expect(new Set(all.flat())).toEqual(new Set(['Authorization: Bearer s-1']));
    const now = Date.now();
    vi.useFakeTimers({ toFake: ['Date'], now: now + 71_000 });
    expect(await headersOf(connectionId)).toEqual(['Authorization: Bearer s-2']);
    expect(provider.count('/login')).toBe(2);
  });

  it('lives as long as the credential says where the answer does not', async () => {
    provider.answers('/login', { body: { access_token: 'session' } });
    const connectionId = await create({ lifetimeS: 120 });
    const { expireTime } = await clients.connections.getCredentials({ connectionId });
    expect(Math.abs(Number(expireTime!.seconds) - Date.now() / 1000 - 120)).toBeLessThan(10);
  });

  it('is not used after the password was changed', async () => {
    const connectionId = await create();
    await headersOf(connectionId);
    const credential = login({
      url: `${provider.url}/login`,
      fields: { user: secret('lovelace'), password: secret('new') },
    });
    await clients.connections.updateConnection({ connectionId, credential });
    await headersOf(connectionId);
    expect(provider.to('/login').map(({ body }) => body.password)).toEqual([PASSWORD, 'new']);
  });
});
