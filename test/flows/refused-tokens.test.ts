import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { login, secret } from '../harness/credentials.ts';
import { Granting, granted } from '../harness/granting.ts';
import { type Receiver, startReceiver } from '../harness/receiver.ts';

const granting = new Granting();
let api: Receiver;
/** The one token that the API takes. */
let good = '';
beforeAll(async () => {
  api = await startReceiver();
});
afterAll(() => api[Symbol.asyncDispose]());
beforeEach(() => {
  api.requests.length = 0;
  api.answer = ({ headers }, response) =>
    void response
      .writeHead(headers.authorization === `Bearer ${good}` ? 200 : 401, { 'content-type': 'text/plain' })
      .end('said');
});

let tokens = 0;
/** A connection whose token the API takes no more, though it has not expired. */
async function refusedConnection(): Promise<string> {
  const { connectionId } = await granting.authorize(
    granted({ access_token: `first-${++tokens}`, refresh_token: 'rt-1' }),
  );
  const { connections } = granting.clients;
  await connections.updateConnection({ connectionId, baseUrl: `${api.url}/v1` });
  good = `second-${++tokens}`;
  granting.provider.answers('/token', granted({ access_token: good, refresh_token: 'rt-2' }));
  granting.provider.requests.length = 0;
  return connectionId;
}

async function proxied(connectionId: string, init: RequestInit = {}): Promise<Response> {
  const key = await granting.clients.access.createApiKey({
    displayName: 'p',
    scopes: ['connection:use', 'connection:read'],
  });
  return fetch(`${granting.server.httpUrl}/proxy/${connectionId}/x`, {
    ...init,
    headers: { authorization: `Bearer ${key.secret}` },
  });
}

describe('A token that the other side refuses', () => {
  it('is renewed once, and the request repeated once', async () => {
    const connectionId = await refusedConnection();
    const { response, attempts } = await granting.clients.connections.sendRequest({ connectionId, method: 'POST' });
    expect(response?.status).toBe(200);
    expect(attempts.map(({ status }) => status)).toEqual([401, 200]);
    expect(granting.provider.count('/token')).toBe(1);
  });

  it('is renewed once for all who were refused', async () => {
    const connectionId = await refusedConnection();
    const all = Array.from({ length: 200 }, () => granting.clients.connections.sendRequest({ connectionId }));
    const statuses = (await Promise.all(all)).map(({ response }) => response?.status);
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(granting.provider.count('/token')).toBe(1);
    expect(api.requests.length).toBeLessThanOrEqual(400);
  });

  it('is renewed once where the next one is refused, too, and the refusal is the answer', async () => {
    const connectionId = await refusedConnection();
    good = 'no token at all';
    for (let round = 0; round < 5; round++) {
      const { response } = await granting.clients.connections.sendRequest({ connectionId });
      expect([response?.status, Buffer.from(response!.body).toString()]).toEqual([401, 'said']);
    }
    expect(granting.provider.count('/token')).toBe(1);
  });

  it('stays the answer where it cannot be renewed', async () => {
    const connectionId = await refusedConnection();
    granting.provider.answers('/token', { status: 503, body: 'busy' });
    const { response } = await granting.clients.connections.sendRequest({ connectionId });
    expect(response?.status).toBe(401);
    const answer = await proxied(connectionId);
    expect([answer.status, await answer.text()]).toEqual([401, 'said']);
  });

  it('is renewed by the proxy, where the body is small enough to be sent again', async () => {
    const connectionId = await refusedConnection();
    const answer = await proxied(connectionId, { method: 'POST', body: 'small' });
    expect([answer.status, await answer.text()]).toEqual([200, 'said']);
    expect(api.requests.map(({ body }) => body.toString())).toEqual(['small', 'small']);
    await granting.enterNewTenant();
    const large = await refusedConnection();
    api.requests.length = 0;
    const refused = await proxied(large, { method: 'POST', body: 'x'.repeat(100_000) });
    expect([refused.status, api.requests.length]).toEqual([401, 1]);
    expect((await proxied(large)).status).toBe(200);
  });

  it('is logged in for again', async () => {
    const { connections } = granting.clients;
    granting.provider.answers('/login', { body: { access_token: 'old' } }, { body: { access_token: 'new' } });
    good = 'new';
    const { connection } = await connections.createConnection({
      ...{ name: 'session', baseUrl: api.url },
      credential: login({ url: `${granting.provider.url}/login`, fields: { user: secret('u') } }),
    });
    const answer = await connections.sendRequest({ connectionId: connection!.id });
    expect(answer.attempts.map(({ status }) => status)).toEqual([401, 200]);
    expect(granting.provider.count('/login')).toBe(2);
  });
});
