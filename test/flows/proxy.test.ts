import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { connect as connectHttp2, type IncomingHttpHeaders } from 'node:http2';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { basic, bearer, secret } from '../harness/credentials.ts';
import { createTestDatabase } from '../harness/database.ts';
import { listenHttp, listenRaw } from '../harness/listener.ts';
import { ServerProcess, temporaryFolder } from '../harness/process.ts';
import { type Receiver, startReceiver } from '../harness/receiver.ts';
import {
  ADMIN_KEY,
  type Clients,
  clientsOf,
  newMasterKey,
  TestServer,
  testEnv,
  transportTo,
} from '../harness/server.ts';

const MEGABYTE = 1024 * 1024;
const STREAMED_MEGABYTES = 480;

let server: TestServer;
let clients: Clients;
let receiver: Receiver;
let made = 0;
beforeAll(async () => {
  server = await TestServer.start({ env: { PROXY_IDLE_MS: '1500' } });
  clients = server.operator('grpc');
  receiver = await startReceiver();
});
afterAll(async () => {
  await server.stop();
  await receiver[Symbol.asyncDispose]();
});
beforeEach(() => {
  receiver.requests.length = 0;
  receiver.answer = (_, response) => void response.end('{}');
});

type Fields = Partial<{ baseUrl: string; credential: ReturnType<typeof bearer>; timeoutMs: number }>;

async function connection(fields: Fields = {}): Promise<string> {
  const defaults = { baseUrl: `${receiver.url}/v1`, credential: bearer('tok-secret-1') };
  const { connection } = await clients.connections.createConnection({ name: `c${++made}`, ...defaults, ...fields });
  return connection!.id;
}

function urlOf(connectionId: string, path = ''): string {
  return `http://127.0.0.1:${server.replica.httpPort}/proxy/${connectionId}${path}`;
}

const KEY = { authorization: `Bearer ${ADMIN_KEY}` };

/** With the path as it is spelled, which fetch would tidy up. */
function raw(
  path: string,
  headers: Record<string, string> = KEY,
  method = 'GET',
): Promise<{ status: number; body: string; headers: IncomingMessage['headers'] }> {
  return new Promise((done, fail) => {
    const call = httpRequest(
      { host: '127.0.0.1', port: server.replica.httpPort, path, method, headers, agent: false },
      async (response) => {
        let body = '';
        try {
          for await (const chunk of response) body += chunk;
          done({ status: response.statusCode ?? 0, body, headers: response.headers });
        } catch (error) {
          fail(error);
        }
      },
    );
    call.on('error', fail).end();
  });
}

/** A server as a process of its own. */
async function runningServer() {
  const database = await createTestDatabase();
  const running = await ServerProcess.ready({ ...testEnv(database, newMasterKey()), SANDBOX: 'off' });
  return {
    ...{ process: running, clients: clientsOf(transportTo('grpc', running, KEY)) },
    async [Symbol.asyncDispose]() {
      await running.stop();
      await database.drop();
    },
  };
}

describe('The proxy', () => {
  it('passes a request on with the credential, and never Latchkey’s own', async () => {
    const id = await connection();
    receiver.answer = (_, response) =>
      void response.writeHead(207, { 'x-one': '1', 'content-type': 'text/x' }).end('answer');
    const headers = {
      ...KEY,
      'x-mine': 'a',
      cookie: 'c=1',
      'x-forwarded-for': '1.1.1.1',
      'latchkey-user': '',
      connection: 'x-hop',
      'x-hop': '1',
    };
    const { status, body, headers: answered } = await raw(`/proxy/${id}/a%2Fb/c?x=%20y&z`, headers, 'PROPFIND');
    expect([status, body, answered['x-one'], answered['content-type']]).toEqual([207, 'answer', '1', 'text/x']);
    expect(receiver.requests).toHaveLength(1);
    const [request] = receiver.requests;
    expect(request).toMatchObject({ method: 'PROPFIND', path: '/v1/a%2Fb/c?x=%20y&z' });
    expect(request?.headers).toMatchObject({ authorization: 'Bearer tok-secret-1', 'x-mine': 'a' });
    for (const name of ['cookie', 'x-forwarded-for', 'x-api-key', 'latchkey-user', 'x-hop', 'x-request-id'])
      expect(request?.headers[name], name).toBeUndefined();
    expect(JSON.stringify(request?.headers)).not.toContain(ADMIN_KEY);
    expect(answered['content-security-policy']).toBe('sandbox');
  });

  it('takes Latchkey’s key where clients of providers put theirs', async () => {
    const id = await connection({
      credential: { kind: { case: 'apiKey', value: { key: secret('sk-real'), name: 'x-api-key' } } },
    });
    const asBasic = `Basic ${Buffer.from(`${ADMIN_KEY}:`).toString('base64')}`;
    const asPassword = `Basic ${Buffer.from(`user:${ADMIN_KEY}`).toString('base64')}`;
    for (const headers of [{ 'x-api-key': ADMIN_KEY }, { authorization: asBasic }, { authorization: asPassword }, KEY])
      expect((await fetch(urlOf(id, '/'), { headers })).status).toBe(200);
    for (const { headers } of receiver.requests) {
      expect(headers['x-api-key']).toBe('sk-real');
      expect(headers.authorization).toBeUndefined();
    }
    const basicId = await connection({ credential: basic('me', 'pw') });
    await fetch(urlOf(basicId), { headers: KEY });
    expect(receiver.requests.at(-1)).toMatchObject({
      path: '/v1',
      headers: { authorization: `Basic ${Buffer.from('me:pw').toString('base64')}` },
    });
  });

  it('refuses who may not, in words that a program reads', async () => {
    const id = await connection();
    const nobody = await fetch(urlOf(id));
    expect(nobody.status).toBe(401);
    expect(await nobody.json()).toMatchObject({ code: 'unauthenticated', reason: 'CREDENTIALS_MISSING' });
    expect((await fetch(urlOf(id), { headers: { authorization: 'Bearer lk_wrong' } })).status).toBe(401);
    const theirs = { authorization: `Bearer ${await server.token('admin', { tenant: 'another' })}` };
    const foreign = await fetch(urlOf(id), { headers: theirs });
    const absent = await fetch(urlOf(id.replace(/.$/, '0')), { headers: theirs });
    expect([foreign.status, absent.status]).toEqual([404, 404]);
    const withoutIds = (text: string) => text.replace(/conn_\w+/, '').replace(/"request_id":"[^"]*"/, '');
    expect(withoutIds(await foreign.text())).toBe(withoutIds(await absent.text()));
    expect((await raw('/proxy/nonsense/x')).status).toBe(404);
    const approver = {
      authorization: `Bearer ${await server.token('approver', { tenant: 'default', subject: 'approving' })}`,
    };
    expect((await fetch(urlOf(id), { headers: approver })).status).toBe(403);
    await clients.connections.disableConnection({ connectionId: id });
    const disabled = await fetch(urlOf(id), { headers: KEY });
    expect(await disabled.json()).toMatchObject({ reason: 'CONNECTION_DISABLED' });
    expect(receiver.requests).toHaveLength(0);
  });

  it('keeps to the connection’s host', async () => {
    const id = await connection();
    for (const path of ['//elsewhere.test/', '/../x', '/%2e%2e/x', '/a/%2E./b', '/\\elsewhere.test'])
      expect((await raw(`/proxy/${id}${path}`)).status, path).toBe(400);
    await raw(`/proxy/${id}/http://elsewhere.test/`);
    await raw(`/proxy/${id}/@elsewhere.test/`);
    expect(receiver.requests.map(({ path }) => path)).toEqual(['/v1/http://elsewhere.test/', '/v1/@elsewhere.test/']);
    const metadata = await connection({ baseUrl: 'http://169.254.169.254/latest' });
    const refused = await fetch(urlOf(metadata, '/meta-data'), { headers: KEY });
    expect(await refused.json()).toMatchObject({ code: 'permission_denied', reason: 'ADDRESS_FORBIDDEN' });
    const own = await connection({ baseUrl: `http://127.0.0.1:${server.replica.httpPort}` });
    expect(await (await fetch(urlOf(own, '/healthz'), { headers: KEY })).json()).toMatchObject({
      reason: 'ADDRESS_FORBIDDEN',
    });
  });

  it('follows no redirect, and leads one within the connection through itself', async () => {
    const id = await connection();
    const locations = [`${receiver.url}/v1/next?a=1`, `${receiver.url}/v1evil`, 'https://elsewhere.test/', '/relative'];
    for (const location of locations) {
      receiver.answer = (_, response) => void response.writeHead(302, { location }).end();
      const answer = await fetch(urlOf(id, '/x'), { headers: KEY, redirect: 'manual' });
      expect(answer.status).toBe(302);
      const own = location.startsWith(`${receiver.url}/v1/`) ? `/proxy/${id}/next?a=1` : location;
      expect(answer.headers.get('location')).toBe(own);
    }
  });

  it('shows neither cookies nor what would speak for our host', async () => {
    const id = await connection();
    receiver.answer = (_, response) =>
      void response
        .writeHead(200, {
          ...{
            'set-cookie': 'a=b',
            'strict-transport-security': 'max-age=1',
            'clear-site-data': '*',
            'alt-svc': 'h3=":1"',
          },
          ...{
            'access-control-allow-origin': '*',
            'x-token': 'tok-secret-1',
            'www-authenticate': 'Bearer realm="x"',
            'x-kept': '1',
          },
        })
        .end('x');
    const { headers } = await fetch(urlOf(id), { headers: KEY });
    expect(headers.get('x-kept')).toBe('1');
    expect(headers.get('www-authenticate')).toBe('Bearer realm="x"');
    for (const name of [
      'set-cookie',
      'strict-transport-security',
      'clear-site-data',
      'alt-svc',
      'access-control-allow-origin',
      'x-token',
    ])
      expect(headers.get(name), name).toBeNull();
  });

  it('keeps what each side says is of its own connection alone', async () => {
    const id = await connection();
    receiver.answer = (_, response) =>
      void response.writeHead(200, { connection: 'close, X-Hop', 'x-hop': '1', 'x-fine': '2' }).end();
    const { headers } = await raw(`/proxy/${id}/x`, {
      ...KEY,
      connection: 'X-Mine, close',
      'x-mine': '1',
      'x-end': '2',
    });
    expect([headers['x-hop'], headers['x-fine']]).toEqual([undefined, '2']);
    const [request] = receiver.requests;
    expect([request?.headers['x-mine'], request?.headers['x-end']]).toEqual([undefined, '2']);
  });

  it('hands on a status that is of no class, and none that is no status', async () => {
    const id = await connection();
    receiver.answer = (_, response) => void response.writeHead(799).end('odd');
    expect(await raw(`/proxy/${id}/x`)).toMatchObject({ status: 799, body: 'odd' });
    await using low = await listenRaw((socket) => socket.end('HTTP/1.1 099 Low\r\ncontent-length: 0\r\n\r\n'));
    const refused = await raw(`/proxy/${await connection({ baseUrl: low.url })}/x`);
    expect([refused.status, JSON.parse(refused.body).metadata.cause]).toEqual([503, 'protocol']);
  });

  it('leaves places to others, however many one tenant would take', async () => {
    const few = await TestServer.start({ env: { PROXY_MAX_IN_FLIGHT: '8' } });
    try {
      receiver.answer = ({ path }, response) => void (path === '/slow' ? response.flushHeaders() : response.end());
      const [greedy, other] = await Promise.all(
        ['greedy', 'other'].map(async (tenant) => {
          const { connections } = await few.as('admin', { tenant });
          const fields = { name: 'c', baseUrl: receiver.url, credential: bearer('t') };
          const id = (await connections.createConnection(fields)).connection!.id;
          const authorization = `Bearer ${await few.token('admin', { tenant })}`;
          return (path: string) => fetch(`${few.httpUrl}/proxy/${id}${path}`, { headers: { authorization } });
        }),
      );
      const answers: Response[] = [];
      for (let i = 0; i < 9; i++) answers.push(await greedy!('/slow'));
      expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 200, 429, 429, 429]);
      expect((await other!('/quick')).status).toBe(200);
      await Promise.all(answers.map(({ body }) => body?.cancel()));
      await expect.poll(async () => (await greedy!('/quick')).status).toBe(200);
    } finally {
      await few.stop();
    }
  });

  it('streams both ways at once, in little memory', async () => {
    await using echo = await listenHttp((request, response) => void request.pipe(response));
    await using running = await runningServer();
    const { connection } = await running.clients.connections.createConnection({
      ...{ name: 'echo', baseUrl: echo.url, credential: bearer('t') },
    });
    const piece = Buffer.alloc(MEGABYTE, 'ab');
    const sent = createHash('sha256');
    let left = STREAMED_MEGABYTES;
    const source = new Readable({
      read() {
        if (left > 0) sent.update(piece);
        this.push(left-- > 0 ? piece : null);
      },
    });
    const memory = () => Number(execFileSync('ps', ['-o', 'rss=', '-p', `${running.process.child.pid}`])) / 1024;
    const before = memory();
    const init = { method: 'POST', headers: KEY, body: Readable.toWeb(source), duplex: 'half' };
    const response = await fetch(
      `http://127.0.0.1:${running.process.httpPort}/proxy/${connection!.id}`,
      init as RequestInit,
    );
    const received = createHash('sha256');
    const seen: number[] = [];
    let bytes = 0;
    for await (const chunk of response.body!) {
      received.update(chunk);
      bytes += chunk.length;
      if (bytes / MEGABYTE > 40 * seen.length) seen.push(memory());
    }
    expect(bytes).toBe(STREAMED_MEGABYTES * MEGABYTE);
    expect(received.digest('hex')).toBe(sent.digest('hex'));
    // Buffers, not the body.
    expect(Math.max(...seen) - before).toBeLessThan(STREAMED_MEGABYTES / 3);
  });

  it('passes events on as they come, and leaves when the caller leaves', async () => {
    const ends: string[] = [];
    receiver.answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('data: 1\n\n');
      response.on('close', () => ends.push('closed'));
      receiver.answer = () => void response.write('data: 2\n\n');
    };
    const id = await connection();
    const leaving = new AbortController();
    const response = await fetch(urlOf(id, '/events'), { headers: KEY, signal: leaving.signal });
    const reader = response.body!.getReader();
    const next = async () => Buffer.from((await reader.read()).value ?? []).toString();
    expect(await next()).toBe('data: 1\n\n');
    fetch(`${receiver.url}/more`).catch(() => {});
    expect(await next()).toBe('data: 2\n\n');
    leaving.abort();
    await expect.poll(() => ends).toEqual(['closed']);
  });

  it('keeps the length of a body that says it', async () => {
    const id = await connection();
    await fetch(urlOf(id), { method: 'PUT', headers: KEY, body: Buffer.alloc(100_000, 'x') });
    await fetch(urlOf(id), { method: 'POST', headers: KEY, body: '' });
    const [put, post] = receiver.requests;
    expect(put?.headers).toMatchObject({ 'content-length': '100000' });
    expect(put?.headers['transfer-encoding']).toBeUndefined();
    expect(put?.body).toHaveLength(100_000);
    expect(post?.headers['content-length']).toBe('0');
  });

  it('breaks off what the other side breaks off, and does not wait for ever', async () => {
    const id = await connection({ timeoutMs: 400 });
    receiver.answer = (_, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('half', () => response.destroy());
    };
    await expect(fetch(urlOf(id), { headers: KEY }).then((response) => response.text())).rejects.toThrow();
    receiver.answer = () => {};
    const late = await fetch(urlOf(id), { headers: KEY });
    expect([late.status, ((await late.json()) as { reason: string }).reason]).toEqual([504, 'TARGET_TIMEOUT']);
    receiver.answer = (_, response) => void response.writeHead(200).write('and then nothing');
    await expect(fetch(urlOf(id), { headers: KEY }).then((response) => response.text())).rejects.toThrow();
    receiver.answer = (_, response) => {
      const timer = setInterval(() => response.writeProcessing(), 50);
      response.on('close', () => clearInterval(timer));
    };
    expect((await fetch(urlOf(id), { headers: KEY })).status).toBe(504);
  });

  it('ends a request whose body never comes', async () => {
    const id = await connection();
    const socket = connect(server.replica.httpPort, '127.0.0.1');
    socket.write(
      `POST /proxy/${id}/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ADMIN_KEY}\r\ncontent-length: 1000000\r\n\r\npart`,
    );
    const answer = await new Promise<string>((done) => socket.once('data', (bytes) => done(bytes.toString())));
    expect(answer).toMatch(/^HTTP\/1.1 504 /);
    socket.destroy();
  });

  it('hands on an answer that comes before the request has ended', async () => {
    await using early = await listenRaw((socket) => {
      socket.write('HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\nconnection: close\r\n\r\nlarge');
    });
    const id = await connection({ baseUrl: early.url });
    const socket = connect(server.replica.httpPort, '127.0.0.1');
    socket.write(
      `POST /proxy/${id}/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ADMIN_KEY}\r\ncontent-length: 9999999\r\n\r\n${'x'.repeat(100_000)}`,
    );
    let answer = '';
    for await (const chunk of socket) answer += chunk;
    expect(answer).toMatch(/^HTTP\/1.1 413 /);
    expect(answer).toMatch(/\r\n\r\n(5\r\n)?large/);
  });

  it('lets an answer that began before the request ended take its time', async () => {
    await using early = await listenHttp((request, response) => {
      response.writeHead(200).write('begun');
      let ticks = 0;
      const timer = setInterval(() => response.write(`${++ticks}`), 100);
      request.on('end', () => {}).resume();
      response.on('close', () => clearInterval(timer));
      endOf = () => response.end('.');
    });
    let endOf = () => {};
    const id = await connection({ baseUrl: early.url, timeoutMs: 300 });
    const body = Buffer.alloc(4 * MEGABYTE);
    const response = await fetch(urlOf(id), { method: 'POST', headers: KEY, body });
    let text = '';
    for await (const chunk of response.body!) {
      text += Buffer.from(chunk).toString();
      if (text.includes('8')) endOf();
    }
    expect(text).toMatch(/^begun12345678.*\.$/);
  });

  it('does not have a request repeated in an answer, and does not pass its own key on by another name', async () => {
    const id = await connection();
    expect((await raw(`/proxy/${id}/x`, KEY, 'TRACE')).status).toBe(400);
    expect((await raw(`/proxy/${id}/x?access_token=${ADMIN_KEY}`)).status).toBe(400);
    expect(receiver.requests).toHaveLength(0);
    await raw(`/proxy/${id}/x`, { ...KEY, 'api-key': ADMIN_KEY });
    expect(JSON.stringify(receiver.requests[0]?.headers)).not.toContain(ADMIN_KEY);
  });

  it('ends a small request whose body never comes, too', async () => {
    const id = await connection();
    const socket = connect(server.replica.httpPort, '127.0.0.1');
    socket.write(
      `POST /proxy/${id}/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${ADMIN_KEY}\r\ncontent-length: 100\r\n\r\npart`,
    );
    let answer = '';
    for await (const chunk of socket) answer += chunk;
    expect(answer).toMatch(/^HTTP\/1.1 504 /);
  });

  it('serves HTTP/2, too', async () => {
    const folder = temporaryFolder();
    const cert = { cert: join(folder.path, 'cert.pem'), key: join(folder.path, 'key.pem') };
    const options = [
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-subj',
      '/CN=localhost',
    ];
    execFileSync('openssl', ['req', ...options, '-keyout', cert.key, '-out', cert.cert], { stdio: 'ignore' });
    const secure = await TestServer.start({ env: { TLS_CERT: cert.cert, TLS_KEY: cert.key } });
    const session = connectHttp2(`https://127.0.0.1:${secure.replica.httpPort}`, { rejectUnauthorized: false });
    const call = async (method: string, path: string, body: string, headers = {}) => {
      const stream = session.request({ ':method': method, ':path': path, ...KEY, ...headers });
      stream.end(body);
      const [answered] = (await once(stream, 'response')) as [IncomingHttpHeaders];
      let text = '';
      for await (const chunk of stream) text += chunk;
      return { text, answered };
    };
    const fields = { name: 'h2', baseUrl: receiver.url, credential: { bearer: { token: { value: 'tok' } } } };
    const create = '/latchkey.v1.ConnectionService/CreateConnection';
    const created = await call('POST', create, JSON.stringify(fields), { 'content-type': 'application/json' });
    receiver.answer = ({ method, path, body }, response) =>
      void response.setHeader('connection', 'keep-alive').end(`${method} ${path} ${body}`);
    const { text, answered } = await call('PUT', `/proxy/${JSON.parse(created.text).connection.id}/x`, 'over h2');
    expect([text, answered[':status'], answered.connection]).toEqual(['PUT /x over h2', 200, undefined]);
    expect(receiver.requests[0]?.headers).toMatchObject({ authorization: 'Bearer tok' });
    receiver.answer = (_, response) => void response.writeHead(799).end('odd');
    const odd = await call('POST', `/proxy/${JSON.parse(created.text).connection.id}/x`, '');
    expect([odd.text, odd.answered[':status']]).toEqual(['odd', 502]);
    session.close();
    await secure.stop();
    folder.remove();
  });

  it('decompresses nothing', async () => {
    const id = await connection();
    receiver.answer = (_, response) =>
      void response.writeHead(200, { 'content-encoding': 'gzip', 'content-length': '3' }).end('raw');
    const { body, headers } = await raw(`/proxy/${id}/x`, { ...KEY, 'accept-encoding': 'gzip' });
    expect([body, headers['content-encoding'], headers['content-length']]).toEqual(['raw', 'gzip', '3']);
    expect(receiver.requests[0]?.headers['accept-encoding']).toBe('gzip');
  });

  it('lets what is under way end when the server is told to stop', async () => {
    await using slow = await startReceiver((_, response) => {
      response.writeHead(200).write('first');
      finish = () => response.end('last');
    });
    let finish = () => {};
    await using running = await runningServer();
    const stopping = running.process;
    const fields = { name: 'slow', baseUrl: slow.url, credential: bearer('t') };
    const { connection } = await running.clients.connections.createConnection(fields);
    const response = await fetch(`http://127.0.0.1:${stopping.httpPort}/proxy/${connection!.id}`, { headers: KEY });
    const reader = response.body!.getReader();
    expect(Buffer.from((await reader.read()).value!).toString()).toBe('first');
    stopping.signal('SIGTERM');
    await stopping.says(/"message":"stopping"/);
    finish();
    expect(Buffer.from((await reader.read()).value!).toString()).toBe('last');
    expect((await reader.read()).done).toBe(true);
    expect(await stopping.exited).toMatchObject({ code: 0 });
  });
});
