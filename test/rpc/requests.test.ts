import { gzipSync } from 'node:zlib';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ConnectionCheckStatus } from '../../gen/latchkey/v1/connection_pb.ts';
import type { CreateConnectionRequestSchema } from '../../gen/latchkey/v1/connection_service_pb.ts';
import { basic, bearer, clientCredentials, secret } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';
import { listenRaw } from '../harness/listener.ts';
import { type Receiver, startReceiver } from '../harness/receiver.ts';
import type { Clients } from '../harness/server.ts';

type NewConnection = Omit<MessageInitShape<typeof CreateConnectionRequestSchema>, '$typeName' | '$unknown'>;

describeRpc('ConnectionService.SendRequest', ({ as, tenant }) => {
  let receiver: Receiver;
  beforeAll(async () => {
    receiver = await startReceiver();
  });
  afterAll(() => receiver[Symbol.asyncDispose]());
  beforeEach(() => {
    receiver.requests.length = 0;
    receiver.answer = (_, response) => void response.end('{}');
  });

  let made = 0;
  async function connect(clients: Clients, fields: NewConnection = {}): Promise<string> {
    const { connection } = await clients.connections.createConnection({
      ...{ name: `c${++made}`, baseUrl: `${receiver.url}/v1`, backoffMs: 0, credential: bearer('tok-secret-1') },
      ...fields,
    });
    return connection!.id;
  }

  const json = (status: number, body: unknown, headers: Record<string, string | string[]> = {}) => {
    receiver.answer = (_, response) => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
    };
  };

  it('puts the credential in, under the base URL, and answers what came', async () => {
    const clients = await as('admin');
    const connectionId = await connect(clients, {
      defaultHeaders: { entries: { 'X-Version': '1', Accept: 'text/plain' } },
    });
    json(201, { id: 7 }, { 'x-total': '3' });
    const answer = await clients.connections.sendRequest({
      ...{ connectionId, method: 'POST', path: '/items?a=1' },
      query: [{ name: 'b', value: 'x y&z' }],
      headers: [{ name: 'accept', value: 'application/json' }],
      body: { content: { case: 'json', value: { kind: { case: 'structValue', value: { fields: {} } } } } },
    });
    expect(receiver.requests).toHaveLength(1);
    const [request] = receiver.requests;
    expect(request).toMatchObject({ method: 'POST', path: '/v1/items?a=1&b=x%20y%26z' });
    expect(request?.headers).toMatchObject({
      ...{ authorization: 'Bearer tok-secret-1', 'x-version': '1', accept: 'application/json' },
      'content-type': 'application/json',
    });
    expect(request?.headers['x-api-key']).toBeUndefined();
    expect(answer.response?.status).toBe(201);
    expect(JSON.parse(Buffer.from(answer.response!.body).toString())).toEqual({ id: 7 });
    expect(answer.response?.headers).toContainEqual(expect.objectContaining({ name: 'x-total', value: '3' }));
    expect(answer.attempts).toMatchObject([{ status: 201, error: '' }]);
  });

  it('authenticates as each kind does', async () => {
    const clients = await as('admin');
    const inHeader = await connect(clients, {
      credential: { kind: { case: 'apiKey', value: { key: secret('key-1'), name: 'X-Key', prefix: 'k ' } } },
    });
    const inQuery = await connect(clients, {
      credential: { kind: { case: 'apiKey', value: { key: secret('a b+'), name: 'key', location: 2 } } },
    });
    const byPassword = await connect(clients, { credential: basic('me', 'pw') });
    await clients.connections.sendRequest({ connectionId: inHeader });
    await clients.connections.sendRequest({ connectionId: inQuery, path: 'x?key=mine&z=%20' });
    await clients.connections.sendRequest({ connectionId: byPassword });
    const [header, query, password] = receiver.requests;
    expect(header?.headers['x-key']).toBe('k key-1');
    expect(query?.path).toBe('/v1/x?z=+&key=a%20b%2B');
    expect(password?.headers.authorization).toBe(`Basic ${Buffer.from('me:pw').toString('base64')}`);
  });

  it('lets explicit auth win, by value or by a named secret', async () => {
    const clients = await as('admin');
    const connectionId = await connect(clients);
    await clients.secrets.createSecret({ name: 'override', value: 'named-secret' });
    const auth = {
      kind: {
        case: 'bearer' as const,
        value: { token: { source: { case: 'secretRef' as const, value: 'override' } } },
      },
    };
    await clients.connections.sendRequest({ connectionId, auth });
    await clients.connections.sendRequest({ connectionId, auth: bearer('given') });
    expect(receiver.requests.map(({ headers }) => headers.authorization)).toEqual([
      'Bearer named-secret',
      'Bearer given',
    ]);
    const missing = {
      kind: { case: 'bearer' as const, value: { token: { source: { case: 'secretRef' as const, value: 'nope' } } } },
    };
    expect(await failureOf(clients.connections.sendRequest({ connectionId, auth: missing }))).toMatchObject({
      ...{ reason: 'SECRET_MISSING', metadata: { name: 'nope' } },
    });
    const other = await failureOf(clients.connections.sendRequest({ connectionId, auth: clientCredentials() }));
    expect(other).toMatchObject({ reason: 'FIELD_INVALID', fields: ['auth'] });
    const user = await as('requestor');
    const own = await user.connections.createConnection({
      name: `own${++made}`,
      baseUrl: receiver.url,
      credential: bearer('t'),
    });
    expect(await failureOf(user.connections.sendRequest({ connectionId: own.connection!.id, auth }))).toMatchObject({
      reason: 'PERMISSION_MISSING',
      metadata: { permission: 'secret:use' },
    });
    expect(receiver.requests).toHaveLength(2);
  });

  it('sends bytes, forms and parts', async () => {
    const clients = await as('admin');
    const connectionId = await connect(clients);
    const send = (
      body: Parameters<Clients['connections']['sendRequest']>[0]['body'],
      headers: { name: string; value: string }[] = [],
    ) => clients.connections.sendRequest({ ...{ connectionId, method: 'PUT', headers }, body: body! });
    await send({ content: { case: 'raw', value: new Uint8Array([0, 255, 10]) } }, [
      { name: 'Content-Type', value: 'image/x' },
    ]);
    await send({
      content: {
        case: 'form',
        value: {
          fields: [
            { name: 'a', value: '1 &' },
            { name: 'a', value: 'é' },
          ],
        },
      },
    });
    const parts = [
      { name: 'title', content: new TextEncoder().encode('two "words"') },
      { name: 'file', filename: 'x.bin', contentType: 'application/x', content: new Uint8Array([1, 2, 0, 3]) },
      { name: 'meta', contentType: 'application/json; x="y"', content: new TextEncoder().encode('{"a":\n1}') },
      { name: 'a"b é', filename: '"; filename="é.txt', content: new Uint8Array([13, 10]) },
    ];
    await send({ content: { case: 'multipart', value: { parts } } }, [{ name: 'content-type', value: 'text/plain' }]);
    const [raw, form, multipart] = receiver.requests;
    expect([raw?.headers['content-type'], [...raw!.body]]).toEqual(['image/x', [0, 255, 10]]);
    expect(form?.headers['content-type']).toBe('application/x-www-form-urlencoded');
    expect(form?.body.toString()).toBe('a=1+%26&a=%C3%A9');
    const read = await new Response(new Uint8Array(multipart!.body), {
      headers: { 'content-type': multipart!.headers['content-type']! },
    }).formData();
    expect(read.get('title')).toBe('two "words"');
    const file = read.get('file') as File;
    expect([file.name, file.type, [...new Uint8Array(await file.arrayBuffer())]]).toEqual([
      'x.bin',
      'application/x',
      [1, 2, 0, 3],
    ]);
    const [, boundary] = /^multipart\/form-data; boundary=([\w-]{40,70})$/.exec(multipart!.headers['content-type']!)!;
    const heads = multipart!.body.toString().split(`--${boundary}`);
    expect(heads.slice(3)).toEqual([
      '\r\nContent-Disposition: form-data; name="meta"\r\nContent-Type: application/json; x="y"\r\n\r\n{"a":\n1}\r\n',
      '\r\nContent-Disposition: form-data; name="a%22b é"; filename="%22; filename=%22é.txt"\r\nContent-Type: application/octet-stream\r\n\r\n\r\n\r\n',
      '--\r\n',
    ]);
    expect(read.get('meta')).toBe('{"a":\n1}');
    expect((read.get('a"b é') as File).size).toBe(2);
  });

  it('takes values out of an answer by JSONPath', async () => {
    const clients = await as('admin');
    const connectionId = await connect(clients);
    json(200, {
      files: [
        { id: 1, n: 'a' },
        { id: 2, n: 'b' },
      ],
      next: null,
    });
    const map = [
      { as: 'files', select: '$.files' },
      { as: 'names', select: '$.files[?@.id > 1].n' },
      { as: 'first', select: '$.files[0].id' },
      { as: 'next', select: '$.next' },
      { as: 'absent', select: '$.nope' },
      { as: 'none', select: '$.nope[*]' },
    ];
    const answer = await clients.connections.sendRequest({ connectionId, map });
    expect(answer.mapped).toEqual({
      ...{
        files: [
          { id: 1, n: 'a' },
          { id: 2, n: 'b' },
        ],
        names: ['b'],
        first: 1,
        next: null,
        none: [],
      },
    });
    for (const select of ['$.[', 'files', '$..['])
      expect(
        await failureOf(clients.connections.sendRequest({ connectionId, map: [{ as: 'x', select }] })),
      ).toMatchObject({
        ...{ reason: 'FIELD_INVALID', fields: ['map[0].select'] },
      });
    expect(receiver.requests).toHaveLength(1);
    receiver.answer = (_, response) => void response.end('<html>');
    expect(await clients.connections.sendRequest({ connectionId, map })).toMatchObject({
      mapError: 'the answer is not JSON',
      response: { status: 200 },
    });
    json(200, { text: 'a'.repeat(40) });
    const slow = [{ as: 'x', select: "$[?match(@, '(a*)*b')]" }];
    expect(await clients.connections.sendRequest({ connectionId, map: slow })).toMatchObject({
      mapError: 'the queries took too long',
    });
  });

  it('repeats what is safe to repeat, and nothing else', async () => {
    const clients = await as('admin');
    const connectionId = await connect(clients);
    receiver.answer = (_, response, index) => void response.writeHead(index % 3 < 2 ? 503 : 200).end('{}');
    const get = await clients.connections.sendRequest({ connectionId });
    expect(get.attempts.map(({ status }) => status)).toEqual([503, 503, 200]);
    const post = await clients.connections.sendRequest({ connectionId, method: 'POST' });
    expect(post).toMatchObject({ response: { status: 503 }, attempts: [{ status: 503 }] });
    receiver.requests.length = 0;
    const headers = [{ name: 'Idempotency-Key', value: 'k1' }];
    const keyed = await clients.connections.sendRequest({ connectionId, method: 'POST', headers });
    expect(keyed.attempts.map(({ status }) => status)).toEqual([503, 503, 200]);
    expect(new Set(receiver.requests.map((request) => request.headers['idempotency-key']))).toEqual(new Set(['k1']));
    receiver.requests.length = 0;
    receiver.answer = (_, response) => void response.writeHead(500).end();
    expect((await clients.connections.sendRequest({ connectionId, retries: 1 })).attempts).toHaveLength(2);
    receiver.answer = (_, response) => void response.writeHead(404).end();
    expect((await clients.connections.sendRequest({ connectionId })).attempts).toHaveLength(1);
  });

  it('answers a status that is of no class as it came, and takes it for one of trouble', async () => {
    const clients = await as('admin');
    const connectionId = await connect(clients, { retries: 1 });
    json(799, { id: 7 }, { 'x-odd': '1' });
    const answer = await clients.connections.sendRequest({ connectionId, map: [{ as: 'id', select: '$.id' }] });
    expect(answer).toMatchObject({ response: { status: 799 }, mapped: { id: 7 } });
    expect(answer.attempts.map(({ status }) => status)).toEqual([799, 799]);
    expect(answer.response?.headers).toContainEqual(expect.objectContaining({ name: 'x-odd', value: '1' }));
    const { webhooks, connections } = clients;
    const { delivery } = await webhooks.sendWebhook({ connectionId, attempts: 2, backoffMs: 100 });
    expect(delivery?.attempts).toMatchObject([
      { statusCode: 799, error: 'status' },
      { statusCode: 799, error: 'status' },
    ]);
    const check = await connections.testConnection({ connectionId });
    expect(check).toMatchObject({ status: ConnectionCheckStatus.UNREACHABLE, statusCode: 799 });
    await using low = await listenRaw((socket) => socket.end('HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n'));
    const none = await connect(clients, { baseUrl: low.url, retries: 0 });
    expect(await failureOf(connections.sendRequest({ connectionId: none }))).toMatchObject({
      ...{ reason: 'TARGET_UNAVAILABLE', metadata: { cause: 'protocol' } },
    });
  });

  it('waits as long as it is told to, or says how long that is', async () => {
    const clients = await as('admin');
    const connectionId = await connect(clients);
    receiver.answer = (_, response, index) =>
      void (index === 0 ? response.writeHead(429, { 'retry-after': '0.3' }) : response).end('{}');
    const short = await clients.connections.sendRequest({ connectionId });
    expect(short.attempts).toMatchObject([
      { status: 429, pause: { seconds: 0n, nanos: 300_000_000 } },
      { status: 200 },
    ]);
    receiver.answer = (_, response) =>
      void response.writeHead(429, { 'retry-after': new Date(Date.now() + 90_000).toUTCString() }).end();
    const long = await clients.connections.sendRequest({ connectionId });
    expect(long.attempts).toHaveLength(1);
    expect(Number(long.retryAfter?.seconds)).toBeGreaterThan(80);
  });

  it('says why there is no answer', async () => {
    const clients = await as('admin');
    const connectionId = await connect(clients, { timeoutMs: 300, retries: 1 });
    receiver.answer = (_, response) => void response.destroy();
    expect(await failureOf(clients.connections.sendRequest({ connectionId }))).toMatchObject({
      ...{
        code: 'Unavailable',
        reason: 'TARGET_UNAVAILABLE',
        metadata: { host: '127.0.0.1', cause: 'reset', attempts: '2' },
      },
    });
    receiver.answer = () => {};
    expect(await failureOf(clients.connections.sendRequest({ connectionId }))).toMatchObject({
      ...{ code: 'DeadlineExceeded', reason: 'TARGET_TIMEOUT', metadata: { attempts: '2' } },
    });
    receiver.answer = (_, response) => void response.end('x'.repeat(2_000));
    expect(await failureOf(clients.connections.sendRequest({ connectionId, maxResponseBytes: 1_999 }))).toMatchObject({
      ...{ code: 'ResourceExhausted', reason: 'RESPONSE_TOO_LARGE', metadata: { limit_bytes: '1999' } },
    });
    receiver.answer = (_, response) =>
      void response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync(Buffer.alloc(5_000_000)));
    expect(await failureOf(clients.connections.sendRequest({ connectionId, retries: 0 }))).toMatchObject({
      reason: 'RESPONSE_TOO_LARGE',
    });
    const dead = await connect(clients, { baseUrl: 'http://127.0.0.1:1', retries: 0 });
    expect(await failureOf(clients.connections.sendRequest({ connectionId: dead, method: 'POST' }))).toMatchObject({
      ...{ reason: 'TARGET_UNAVAILABLE', metadata: { cause: 'connect' } },
    });
  });

  it('follows no redirect, and shows neither cookies nor the credential', async () => {
    const clients = await as('admin');
    const connectionId = await connect(clients);
    json(
      302,
      {},
      { location: 'http://elsewhere.test/', 'set-cookie': ['a=b'], 'x-echo': 'Bearer tok-secret-1', 'x-other': 'kept' },
    );
    const { response } = await clients.connections.sendRequest({ connectionId });
    const shown = Object.fromEntries(response!.headers.map(({ name, value }) => [name, value]));
    expect(response?.status).toBe(302);
    expect(shown).toMatchObject({ location: 'http://elsewhere.test/', 'x-other': 'kept' });
    expect(Object.keys(shown)).not.toEqual(expect.arrayContaining(['set-cookie']));
    expect(JSON.stringify(shown)).not.toContain('tok-secret-1');
  });

  describe('keeps to the connection’s hosts', () => {
    it('whatever the path looks like', async () => {
      const clients = await as('admin');
      const connectionId = await connect(clients, { allowedHosts: ['*.127.0.0.1.test', 'localhost'] });
      const { port } = receiver;
      const foreign = [
        'http://elsewhere.test/',
        `https://127.0.0.1.evil.test:${port}/`,
        `http://127.0.0.1:${port + 1}/`,
        'http://127.0.0.1/',
        'http://127.0.0.1.test/',
        'http://[::1]/',
      ];
      for (const path of foreign)
        expect(await failureOf(clients.connections.sendRequest({ connectionId, path })), path).toMatchObject({
          ...{ code: 'PermissionDenied', reason: 'HOST_NOT_ALLOWED' },
        });
      const malformed = [
        ...[
          '//elsewhere.test/',
          '/../admin',
          '/a/%2e%2E/b',
          '/a/./b',
          '\\\\elsewhere.test',
          '/a\tb',
          '/a\r\nX: y',
          '/ä',
        ],
        ...['ftp://127.0.0.1/', 'javascript:alert(1)', `http://user@127.0.0.1:${port}/`, 'http://'],
      ];
      for (const path of malformed)
        expect(await failureOf(clients.connections.sendRequest({ connectionId, path })), path).toMatchObject({
          ...{ code: 'InvalidArgument', fields: ['path'] },
        });
      expect(receiver.requests).toHaveLength(0);
      await clients.connections.sendRequest({ connectionId, path: `http://127.0.0.1:${port}/other/@x//y` });
      await clients.connections.sendRequest({ connectionId, path: `http://localhost:${port}/here` });
      expect(receiver.requests.map(({ path }) => path)).toEqual(['/other/@x//y', '/here']);
    });

    it('and sends what goes over https nowhere over http', async () => {
      const clients = await as('admin');
      const connectionId = await connect(clients, { baseUrl: 'https://127.0.0.1', allowedHosts: ['127.0.0.1'] });
      const path = `${receiver.url}/`;
      expect(await failureOf(clients.connections.sendRequest({ connectionId, path }))).toMatchObject({
        reason: 'HOST_NOT_ALLOWED',
      });
      expect(receiver.requests).toHaveLength(0);
    });

    it('which only who may read its credential changes, or who brings another', async () => {
      const admin = await as('admin');
      const connectionId = await connect(admin);
      const manager = await as('resource_manager', { subject: 'manager' });
      const moves = [
        { baseUrl: 'https://evil.test' },
        { allowedHosts: { hosts: ['evil.test'] } },
        { provider: 'openai' },
      ];
      for (const move of moves)
        expect(await failureOf(manager.connections.updateConnection({ connectionId, ...move }))).toMatchObject({
          ...{ reason: 'PERMISSION_MISSING', metadata: { permission: 'credential:read' } },
        });
      await manager.connections.updateConnection({ connectionId, baseUrl: `${receiver.url}/v2` });
      await manager.connections.updateConnection({ connectionId, ...moves[1], credential: bearer('new one') });
      const { connection } = await admin.connections.getConnection({ connectionId });
      expect(connection).toMatchObject({ baseUrl: `${receiver.url}/v2`, allowedHosts: ['evil.test'] });
    });
  });

  it('refuses headers that are not the caller’s to set, naming them', async () => {
    const clients = await as('admin');
    const connectionId = await connect(clients);
    for (const name of [
      'Authorization',
      'cookie',
      'Host',
      'proxy-Authorization',
      'Transfer-Encoding',
      'Proxy-X',
      'Connection',
      'content-length',
    ])
      expect(
        await failureOf(clients.connections.sendRequest({ connectionId, headers: [{ name, value: 'x' }] })),
        name,
      ).toMatchObject({
        ...{ reason: 'FIELD_INVALID', fields: ['headers[0].name'] },
      });
    for (const value of ['a\r\nb: c', 'ä', '\0'])
      expect(
        await failureOf(clients.connections.sendRequest({ connectionId, headers: [{ name: 'x', value }] })),
      ).toMatchObject({
        ...{ reason: 'FIELD_INVALID', fields: ['headers[0].value'] },
      });
    expect(receiver.requests).toHaveLength(0);
  });

  it('is for HTTP, and for those who may use the connection', async () => {
    const clients = await as('admin');
    const mail = await connect(clients, {
      credential: { kind: { case: 'smtp', value: { host: 'mail.test', username: 'u', password: secret('p') } } },
    });
    expect(await failureOf(clients.connections.sendRequest({ connectionId: mail }))).toMatchObject({
      ...{ reason: 'CONNECTION_NOT_HTTP', metadata: { cause: 'kind' } },
    });
    const nowhere = await connect(clients, { baseUrl: '' });
    expect(await failureOf(clients.connections.sendRequest({ connectionId: nowhere }))).toMatchObject({
      ...{ reason: 'CONNECTION_NOT_HTTP', metadata: { cause: 'base_url' } },
    });
    const connectionId = await connect(clients);
    await clients.connections.disableConnection({ connectionId });
    expect(await failureOf(clients.connections.sendRequest({ connectionId }))).toMatchObject({
      reason: 'CONNECTION_DISABLED',
    });
    expect(await failureOf(clients.connections.sendRequest({ connectionId, auth: bearer('x') }))).toMatchObject({
      reason: 'CONNECTION_DISABLED',
    });
    await clients.connections.enableConnection({ connectionId });
    const approver = await as('approver', { subject: 'approver' });
    expect(await failureOf(approver.connections.sendRequest({ connectionId }))).toMatchObject({
      ...{ reason: 'PERMISSION_MISSING', metadata: { permission: 'connection:use' } },
    });
    const stranger = await as('admin', { tenant: `${tenant()}-other` });
    const theirs = await failureOf(stranger.connections.sendRequest({ connectionId }));
    const absent = await failureOf(stranger.connections.sendRequest({ connectionId: connectionId.replace(/.$/, '0') }));
    expect(theirs.reason).toBe('CONNECTION_NOT_FOUND');
    expect({ ...theirs, metadata: {} }).toEqual({ ...absent, metadata: {} });
    expect(receiver.requests).toHaveLength(0);
  });

  it('marks the connection as used, and records who used it', async () => {
    const clients = await as('admin');
    const connectionId = await connect(clients);
    await clients.connections.sendRequest({ connectionId });
    await expect
      .poll(async () => (await clients.connections.getConnection({ connectionId })).connection?.lastUsedAt)
      .toBeDefined();
    await expect
      .poll(async () => (await clients.audit.listAuditEntries({})).entries.map(({ action }) => action))
      .toContain('request_sent');
  });

  it('gives a new connection what its provider’s API needs', async () => {
    const clients = await as('admin');
    const { connection } = await clients.connections.createConnection({
      ...{
        name: 'notes',
        provider: 'notion',
        credential: bearer('ntn_1'),
        defaultHeaders: { entries: { 'X-Mine': '1' } },
      },
    });
    expect(connection).toMatchObject({
      ...{ baseUrl: 'https://api.notion.com', defaultHeaders: { 'Notion-Version': expect.any(String), 'X-Mine': '1' } },
    });
  });
});
