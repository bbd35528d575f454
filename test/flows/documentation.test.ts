import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { services } from '../../src/handlers/index.ts';
import { type OpenApi, openApi, schemaFor } from '../harness/openapi.ts';
import { ADMIN_KEY, TestServer } from '../harness/server.ts';

let server: TestServer;
beforeAll(async () => {
  // In production, too: what is served needs no setting.
  server = await TestServer.start({ env: { NODE_ENV: 'production', LANGFLOW_TENANT_INSTANCES: 'true' } });
});
afterAll(() => server.stop());

const get = (path: string, init: RequestInit = {}) =>
  fetch(`${server.httpUrl}${path}`, { redirect: 'manual', ...init });

/** Asks for a path as it is, which fetch would tidy up. */
function rawStatus(path: string): Promise<number> {
  return new Promise((done, fail) => {
    const asked = httpRequest({ host: '127.0.0.1', port: server.replica.httpPort, path }, (response) => {
      response.resume();
      done(response.statusCode!);
    });
    asked.on('error', fail).end();
  });
}

describe('/openapi.json', () => {
  it('is the generated document, with where it is served', async () => {
    const response = await get('/openapi.json');
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'application/json']);
    const { servers, ...document } = (await response.json()) as OpenApi;
    expect(servers).toEqual([{ url: '/', description: 'Where this document is from' }]);
    expect(document).toEqual({ ...openApi, servers: undefined });
  });

  it('names the public URL first where there is one, and lets the page call it', async () => {
    const elsewhere = await TestServer.start({ env: { PUBLIC_URL: 'https://keys.example.com/latchkey/' } });
    try {
      const { servers } = (await (await fetch(`${elsewhere.httpUrl}/openapi.json`)).json()) as OpenApi;
      expect(servers.map(({ url }) => url)).toEqual(['https://keys.example.com/latchkey', '/']);
      const page = await fetch(`${elsewhere.httpUrl}/docs`);
      expect(page.headers.get('content-security-policy')).toContain("connect-src 'self' https://keys.example.com;");
    } finally {
      await elsewhere.stop();
    }
  });

  it('is not sent again where it is known, compressed or not', async () => {
    const tags: string[] = [];
    for (const encoding of ['identity', 'gzip', 'gzip;q=0']) {
      const headers = { 'accept-encoding': encoding };
      const first = await get('/openapi.json', { headers });
      expect(first.headers.get('content-encoding')).toBe(encoding === 'gzip' ? 'gzip' : null);
      expect(await first.json()).toHaveProperty('openapi', '3.1.0');
      const etag = first.headers.get('etag')!;
      const again = await get('/openapi.json', { headers: { ...headers, 'if-none-match': `"other", ${etag}` } });
      expect([again.status, await again.text()]).toEqual([304, '']);
      tags.push(etag);
    }
    expect(new Set(tags).size).toBe(2);
  });
});

describe('/docs', () => {
  const POLICY =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

  it('is a page whose policy refuses all but its own files, and which needs no more', async () => {
    const response = await get('/docs');
    expect([response.status, response.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
    expect(response.headers.get('content-security-policy')).toBe(POLICY);
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    const page = await response.text();
    expect(page).not.toMatch(/<script>|<style|style=|\son\w+=|https?:\/\//);
    const files = [...page.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1]!);
    expect(files).toHaveLength(4);
    for (const file of files) {
      const asset = await fetch(new URL(file, `${server.httpUrl}/docs`));
      const type = file.endsWith('.js') ? 'text/javascript' : file.endsWith('.css') ? 'text/css' : 'image/png';
      expect([asset.status, asset.headers.get('x-content-type-options')], file).toEqual([200, 'nosniff']);
      expect(asset.headers.get('content-type'), file).toContain(type);
      expect((await asset.arrayBuffer()).byteLength, file).toBeGreaterThan(100);
    }
  });

  it('forgets a key with the page, and shows the document to nobody else', async () => {
    const start = await (await get('/docs/start.js')).text();
    for (const setting of ['persistAuthorization: false', 'queryConfigEnabled: false', 'validatorUrl: null'])
      expect(start).toContain(setting);
    expect(start).toContain("url: 'openapi.json'");
  });

  it('answers HEAD without the body, and nothing but GET and HEAD', async () => {
    for (const path of ['/docs', '/docs/swagger-ui-bundle.js', '/openapi.json']) {
      const head = await get(path, { method: 'HEAD' });
      const full = await get(path, { headers: { 'accept-encoding': 'identity' } });
      expect([head.status, (await head.arrayBuffer()).byteLength], path).toEqual([200, 0]);
      expect(head.headers.get('content-type')).toBe(full.headers.get('content-type'));
      expect(Number(full.headers.get('content-length')), path).toBe((await full.arrayBuffer()).byteLength);
      const posted = await get(path, { method: 'POST', body: '{}' });
      expect([posted.status, posted.headers.get('allow')], path).toEqual([405, 'GET, HEAD']);
    }
    const slash = await get('/docs/');
    expect([slash.status, slash.headers.get('location')]).toEqual([308, '../docs']);
  });

  it.each([
    ...['/docs/index.html', '/docs/package.json', '/docs/swagger-ui.js', '/docs/../package.json', '/docs/%2e%2e/x'],
    ...[
      '/docs/..%2f..%2fpackage.json',
      '/docs/swagger-ui.css/..',
      '/docs//etc/passwd',
      '/docs/constructor',
      '/docs/start.js%00',
    ],
    ...['/openapi.json/', '/docs/..\\package.json'],
  ])('has no file beside its own: %s', async (path) => {
    expect(await rawStatus(path)).toBe(404);
  });
});

/** Calls a method as a viewer does: by what the document says. */
async function tryOut(document: OpenApi, path: string, body: unknown, scheme: string | null): Promise<Response> {
  const { type, name } = document.components.securitySchemes[scheme ?? ''] ?? {};
  const credential: Record<string, string> =
    type === 'http' ? { authorization: `Bearer ${ADMIN_KEY}` } : type ? { [name!]: ADMIN_KEY } : {};
  const { content } = document.paths[path]!.post!.requestBody!;
  return fetch(new URL(document.servers[0]!.url + path.slice(1), server.httpUrl), {
    method: 'POST',
    headers: { 'content-type': Object.keys(content)[0]!, ...credential },
    body: JSON.stringify(body),
  });
}

describe('Calls by the document', () => {
  const unary = services
    .flatMap(({ service }) => service.methods)
    .filter(({ methodKind }) => methodKind === 'unary')
    .map((method) => ({ path: `/${method.parent.typeName}/${method.name}`, output: method.output.name }));

  it('reach every method with each of its credentials, and answers are as it says', async () => {
    let answered = 0;
    for (const { path, output } of unary) {
      const { post } = openApi.paths[path]!;
      const schemes = (post!.security ?? openApi.security).flatMap((one) => Object.keys(one));
      const example = post!.requestBody!.content['application/json']!.example ?? {};
      expect((await tryOut(openApi, path, example, null)).status === 401, path).toBe(schemes.length > 0);
      for (const scheme of schemes.length > 0 ? schemes : [null]) {
        const response = await tryOut(openApi, path, example, scheme);
        expect([401, 403, 415, 500, 501], path).not.toContain(response.status);
        const schema = schemaFor(response.ok ? output : 'Error');
        const body = await response.json();
        expect(schema(body) || [body, schema.errors], path).toBe(true);
        if (response.ok) answered += 1;
      }
    }
    expect(answered).toBeGreaterThan(30);
  });

  const CONNECTION = 'conn_01jabcdefghjkmnpqrstvwxyz0';
  const NAMED = { name: 'n', credential: { bearer: { token: { value: 't' } } } };
  it.each([
    ['ConnectionService/CreateConnection', { ...NAMED, name: '' }],
    ['ConnectionService/CreateConnection', { ...NAMED, name: 'x'.repeat(256) }],
    ['ConnectionService/CreateConnection', { ...NAMED, name: 7 }],
    ['ConnectionService/CreateConnection', { ...NAMED, unknown: 1 }],
    ['ConnectionService/CreateConnection', { ...NAMED, retries: 11 }],
    ['ConnectionService/CreateConnection', { ...NAMED, retries: 1.5 }],
    ['ConnectionService/CreateConnection', { ...NAMED, baseUrl: 'ftp://x' }],
    ['ConnectionService/CreateConnection', { ...NAMED, checkSchedule: 'CHECK_SCHEDULE_NEVER' }],
    ['ConnectionService/CreateConnection', { ...NAMED, credential: { ...NAMED.credential, basic: { username: 'u' } } }],
    ['ConnectionService/GetConnection', {}],
    ['ConnectionService/GetConnection', { connectionId: 'conn_1' }],
    ['ConnectionService/ListConnections', { pageSize: -1 }],
    ['ConnectionService/ListConnections', { skip: 10_001 }],
    ['ConnectionService/ListConnections', { expiresBefore: 'tomorrow' }],
    ['ConnectionService/StartAuthorization', { connectionId: CONNECTION, newConnection: {} }],
    ['ConnectionService/StartAuthorization', {}],
    ['AccessService/CreateApiKey', { displayName: 'x', scopes: [] }],
    ['AccessService/CreateApiKey', { displayName: 'x', scopes: ['*', '*'] }],
    ['AccessService/UpdateUserRoles', { userId: 'user_01jabcdefghjkmnpqrstvwxyz0', roles: ['king'] }],
    ['SecretService/CreateSecret', { name: 'a b', value: 'v' }],
    ['SecretService/CreateSecret', { name: 'a' }],
    ['SecretService/CreateSecret', [] as unknown],
    ['EventService/ListEvents', 'text' as unknown],
  ])('are refused by the document where the server refuses them: %s %j', async (name, body) => {
    const path = `/latchkey.v1.${name}`;
    expect(schemaFor(`${name.split('/')[1]}Request`)(body)).toBe(false);
    expect((await tryOut(openApi, path, body, 'bearer')).status).toBe(400);
  });

  it.each([
    ['SecretService/CreateSecret', { name: 'taken', value: 'v', requestId: 'once' }],
    ['ConnectionService/CreateConnection', { ...NAMED, retries: 0, checkSchedule: 'CHECK_SCHEDULE_DAILY' }],
    ['ConnectionService/ListConnections', { pageSize: 1, skip: 0, expiresBefore: '2027-01-31T12:00:00Z' }],
    [
      'AccessService/CreateApiKey',
      { displayName: 'x', scopes: ['connection:*'], expireTime: '2099-01-01T00:00:00.5Z' },
    ],
    ['AuditService/ListAuditEntries', { action: 'secret_created' }],
    ['EventService/ListEvents', {}],
  ])('are taken by the server where the document takes them: %s %j', async (name, body) => {
    expect(schemaFor(`${name.split('/')[1]}Request`)(body)).toBe(true);
    expect((await tryOut(openApi, `/latchkey.v1.${name}`, body, 'apiKey')).status).toBe(200);
  });
});
