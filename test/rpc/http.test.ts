import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ADMIN_KEY, TestServer } from '../harness/server.ts';

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start({ env: { CORS_ORIGINS: 'https://app.example', TRUST_PROXY: '1' } });
});
afterAll(() => server.stop());

const SERVICE = '/latchkey.v1.ConnectionService';
const headers = { authorization: `Bearer ${ADMIN_KEY}`, 'content-type': 'application/json' };

async function post(path: string, body: BodyInit, extra: Record<string, string> = {}) {
  const response = await fetch(`${server.httpUrl}${path}`, { method: 'POST', headers: { ...headers, ...extra }, body });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    text,
    json: text.startsWith('{') ? JSON.parse(text) : null,
  };
}

function detailsOf(json: { details: { type: string; debug: Record<string, unknown> }[] }) {
  return Object.fromEntries(json.details.map((detail) => [detail.type, detail.debug]));
}

describe('The HTTP side', () => {
  it('answers health, readiness with a row a dependency, and metrics', async () => {
    expect(await (await fetch(`${server.httpUrl}/healthz`)).json()).toEqual({ status: 'ok' });
    const ready = await fetch(`${server.httpUrl}/readyz`);
    expect(ready.status).toBe(200);
    const up = ['database', 'listener', 'queue', 'master_key', 'audit'];
    expect(await ready.json()).toEqual({
      ready: true,
      status: 'up',
      dependencies: up.map((name) => ({ name, status: 'up', since: expect.any(String) })),
    });
    const metrics = await (await fetch(`${server.httpUrl}/metrics`)).text();
    for (const name of [
      'grpc_server_handled_total',
      'nodejs_eventloop_lag_seconds',
      'latchkey_database_pool_connections',
      'latchkey_cache_entries',
      'latchkey_listener_up 1',
    ]) {
      expect(metrics).toContain(name);
    }
  });

  it('answers malformed input with a clear error that names the field', async () => {
    const cases: { body: string; field: string }[] = [
      { body: '{"connectionIdd": "x"}', field: 'connectionIdd' },
      { body: '{"connectionId": 7}', field: 'connection_id' },
      { body: '{not json', field: '' },
      { body: '[]', field: '' },
      { body: '{"connectionId": "x"}', field: 'connection_id' },
    ];
    for (const { body, field } of cases) {
      const { status, json } = await post(`${SERVICE}/GetConnection`, body);
      expect(status, body).toBe(400);
      const details = detailsOf(json);
      expect(json.code).toBe('invalid_argument');
      expect(details['google.rpc.ErrorInfo']).toMatchObject({
        reason: 'FIELD_INVALID',
        domain: 'latchkey',
        metadata: { request_id: expect.any(String) },
      });
      const [violation] = (details['google.rpc.BadRequest'] as { fieldViolations: { field?: string }[] })
        .fieldViolations;
      expect(violation?.field ?? '', body).toBe(field);
    }
    const binary = await post(`${SERVICE}/GetConnection`, new Uint8Array([0xff, 0xff, 0xff]), {
      'content-type': 'application/proto',
    });
    expect(binary.status).toBe(400);
    expect(detailsOf(binary.json)['google.rpc.ErrorInfo']).toMatchObject({ reason: 'FIELD_INVALID' });
  });

  it('never quotes a secret in an error about it', async () => {
    const { text } = await post(
      `${SERVICE}/CreateConnection`,
      '{"name":"x","credential":{"bearer":{"token":{"value":["hunter2"]}}}}',
    );
    expect(text).toContain('FIELD_INVALID');
    expect(text).not.toContain('hunter2');
    expect(server.logLines.join('')).not.toContain('hunter2');
  });

  it('refuses unknown paths, methods and encodings with an error', async () => {
    expect((await post('/latchkey.v1.ConnectionService/Nope', '{}')).status).toBe(404);
    expect((await post('/nowhere', '{}')).json).toMatchObject({ code: 'unimplemented' });
    expect((await post(`${SERVICE}/GetConnection`, '{}', { 'content-type': 'text/plain' })).status).toBe(415);
    const put = await fetch(`${server.httpUrl}${SERVICE}/GetConnection`, { method: 'PUT', headers, body: '{}' });
    expect(put.status).toBe(405);
    expect(detailsOf((await put.json()) as never)['google.rpc.ErrorInfo']).toMatchObject({ reason: 'METHOD_UNKNOWN' });
    expect((await fetch(`${server.httpUrl}/healthz`, { method: 'POST' })).status).toBe(405);
  });

  it('answers reads by GET, uncached, and secrets never so', async () => {
    const message = encodeURIComponent('{"pageSize":1}');
    const list = await fetch(
      `${server.httpUrl}${SERVICE}/ListConnections?connect=v1&encoding=json&message=${message}`,
      { headers },
    );
    expect(list.status).toBe(200);
    expect(list.headers.get('cache-control')).toBe('private, no-store');
    const credentials = await fetch(
      `${server.httpUrl}${SERVICE}/GetCredentials?connect=v1&encoding=json&message=%7B%7D`,
      { headers },
    );
    expect(credentials.status).toBe(405);
  });

  it('lets allowed origins in, and gives others no headers', async () => {
    const preflight = (origin: string) =>
      fetch(`${server.httpUrl}${SERVICE}/ListConnections`, {
        method: 'OPTIONS',
        headers: {
          origin,
          'access-control-request-method': 'POST',
          'access-control-request-headers': 'authorization,content-type',
        },
      });
    const allowed = await preflight('https://app.example');
    expect(allowed.status).toBe(204);
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://app.example');
    expect(allowed.headers.get('access-control-allow-headers')?.toLowerCase()).toContain('authorization');
    const answer = await post(`${SERVICE}/ListConnections`, '{}', { origin: 'https://app.example' });
    expect(answer.headers.get('access-control-allow-origin')).toBe('https://app.example');
    expect(answer.headers.get('access-control-expose-headers')).toContain('x-request-id');
    const other = await preflight('https://evil.example');
    expect(other.headers.get('access-control-allow-origin')).toBeNull();
  });

  it('believes as many proxies as it is told of', async () => {
    await post(`${SERVICE}/ListConnections`, '{}', {
      'x-forwarded-for': '6.6.6.6, 203.0.113.9',
      'x-request-id': 'forwarded',
    });
    const line = server.logLines.find((text) => text.includes('"forwarded"'));
    expect(JSON.parse(line!).address).toBe('203.0.113.9');
  });

  it('reads a compressed message no further than its limit', async () => {
    const { gzipSync } = await import('node:zlib');
    const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024, 0x20));
    const { status, json } = await post(`${SERVICE}/ListConnections`, bomb, { 'content-encoding': 'gzip' });
    expect(status).toBe(429);
    expect(detailsOf(json)['google.rpc.ErrorInfo']).toMatchObject({ reason: 'MESSAGE_TOO_LARGE' });
  });

  it('refuses headers beyond their limit', async () => {
    const status = await new Promise((done, fail) => {
      const request = httpRequest(
        `${server.httpUrl}/healthz`,
        { headers: { 'x-large': 'x'.repeat(40_000) } },
        (response) => done(response.statusCode),
      );
      request.on('error', fail);
      request.end();
    });
    expect(status).toBe(431);
  });
});
