import type { IncomingMessage, ServerResponse } from 'node:http';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import {
  CheckSchedule,
  ConnectionHealth,
  ConnectionCheckStatus as Status,
} from '../../gen/latchkey/v1/connection_pb.ts';
import type { CreateConnectionRequestSchema } from '../../gen/latchkey/v1/connection_service_pb.ts';
import { bearer, clientCredentials, login, secret } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';
import { type Listener, listenHttp } from '../harness/listener.ts';
import type { Clients } from '../harness/server.ts';

type Create = MessageInitShape<typeof CreateConnectionRequestSchema>;

const TOKEN = 'canary-token-5d21';

let service: Listener;
let elsewhere: Listener;
let strays = 0;
let answer: { status: number; body?: unknown; headers?: Record<string, string> };
let seen: IncomingMessage[] = [];

beforeAll(async () => {
  service = await listenHttp((request, response) => {
    seen.push(request);
    const { status, body = {}, headers = {} } = answer;
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
  });
  const stray = (_: IncomingMessage, response: ServerResponse) => {
    strays += 1;
    response.end('{}');
  };
  elsewhere = await listenHttp(stray, '127.0.0.2');
});
afterAll(async () => {
  await service[Symbol.asyncDispose]();
  await elsewhere[Symbol.asyncDispose]();
});
beforeEach(() => {
  answer = { status: 200 };
  seen = [];
  strays = 0;
});

async function made({ connections }: Clients, given: Partial<Create> = {}): Promise<string> {
  const { connection } = await connections.createConnection({
    ...{ name: 'c', credential: bearer(TOKEN), baseUrl: `${service.url}/v1` },
    ...given,
  } as Create);
  return connection!.id;
}

describeRpc('ConnectionService.TestConnection', ({ as, server, tenant, transport }) => {
  const tested = async (given: Partial<Create> = {}) => {
    const clients = await as('admin');
    return clients.connections.testConnection({ connectionId: await made(clients, given) });
  };

  it('asks the base URL, with headers and credential, and answers what it found out', async () => {
    const report = await tested({ defaultHeaders: { entries: { 'X-Org': 'o' } } });
    expect(report).toMatchObject({
      ...{ success: true, status: Status.VALID, statusCode: 200, tokenValid: true, service: 'bearer', reason: '' },
      ...{ message: 'The credential was accepted (200).', advice: '' },
      health: { health: ConnectionHealth.HEALTHY, consecutiveFailures: 0, lastStatus: Status.VALID },
    });
    expect(report.latencyMs).toBeGreaterThanOrEqual(0);
    expect(seen).toMatchObject([
      { method: 'GET', url: '/v1', headers: { authorization: `Bearer ${TOKEN}`, 'x-org': 'o' } },
    ]);
  });

  it('says of each answer what it means, and never what it said', async () => {
    const clients = await as('admin');
    const connectionId = await made(clients);
    const meanings = [
      ...([[401, Status.INVALID]] as const),
      ...([[404, Status.UNKNOWN]] as const),
      ...([[403, Status.UNKNOWN]] as const),
      ...([[302, Status.UNKNOWN]] as const),
      ...([[429, Status.RATE_LIMITED]] as const),
      ...([[503, Status.UNREACHABLE]] as const),
    ];
    for (const [status, meaning] of meanings) {
      answer = { status, body: { error: `no: ${TOKEN}` }, headers: { location: elsewhere.url, 'x-echo': TOKEN } };
      const report = await clients.connections.testConnection({ connectionId });
      expect(report, String(status)).toMatchObject({ success: false, status: meaning, statusCode: status });
      expect(report.message).toContain(`(${status})`);
      expect(report.advice).not.toBe('');
      expect(JSON.stringify({ ...report, health: null })).not.toContain(TOKEN);
    }
    expect(strays).toBe(0);
  });

  it('makes the check that the connection has, below its base URL, and no other way', async () => {
    answer = { status: 403 };
    const check = { path: '/me?x=1', method: 'POST', outcomes: { 403: 'restricted' } };
    const report = await tested({ check });
    expect(report).toMatchObject({ success: true, status: Status.RESTRICTED, statusCode: 403 });
    expect(seen).toMatchObject([{ method: 'POST', url: '/v1/me?x=1' }]);
    const clients = await as('admin');
    for (const path of ['me', 'ftp://x/', '/a b', '//x\\y', '/\u00e4'])
      expect(await failureOf(made(clients, { name: path, check: { path } })), path).toMatchObject({
        reason: 'FIELD_INVALID',
      });
    for (const path of ['/../admin', '/%2e%2e/admin', '//127.0.0.2/x']) {
      const refused = await clients.connections.testConnection({
        connectionId: await made(clients, { name: path, check: { path } }),
      });
      expect(refused, path).toMatchObject({ status: Status.MISCONFIGURED, reason: 'FIELD_INVALID', statusCode: 0 });
    }
    expect(seen).toHaveLength(1);
  });

  it('sends the credential to none but the connection’s hosts', async () => {
    const path = `http://127.0.0.2:${elsewhere.port}/x`;
    expect(await tested({ check: { path } })).toMatchObject({
      ...{ success: false, status: Status.MISCONFIGURED, reason: 'HOST_NOT_ALLOWED', statusCode: 0 },
    });
    const clients = await as('admin', { tenant: `${tenant()}-own` });
    await clients.integrations.createProvider({
      definition: {
        name: 'ours',
        displayName: 'Ours',
        keys: [{ kind: 'bearer', displayName: 'k', check: { url: path } }],
      },
    });
    const connectionId = await made(clients, { provider: 'ours' });
    expect(await clients.connections.testConnection({ connectionId })).toMatchObject({
      reason: 'HOST_NOT_ALLOWED',
    });
    expect(strays).toBe(0);
    await clients.connections.updateConnection({ connectionId, allowedHosts: { hosts: ['127.0.0.2'] } });
    expect(await clients.connections.testConnection({ connectionId })).toMatchObject({
      success: true,
      service: 'ours',
    });
    expect(strays).toBe(1);
  });

  it('makes the check of the provider’s entry: headers, failures that come with 200, account and scopes', async () => {
    const clients = await as('admin');
    const check = {
      ...{
        url: `${service.url}/{region}/users/{username}`,
        method: 'POST',
        failurePointer: '/ok',
        failureWhen: 'false',
      },
      ...{ accountId: '/id', email: '/email', scopesHeader: 'X-Scopes' },
    };
    const key = { kind: 'basic', displayName: 'k', headers: { 'X-Version': '7' }, check };
    const parameters = [{ name: 'region', choices: ['eu', 'us'] }];
    await clients.integrations.createProvider({
      definition: { name: 'ours', displayName: 'Ours', parameters, keys: [key] },
    });
    const credential = {
      kind: { case: 'basic' as const, value: { username: 'ada', password: secret('password-31cc') } },
    };
    const connectionId = await made(clients, { provider: 'ours', credential, config: { region: 'eu' } });
    answer = {
      status: 200,
      body: { ok: true, id: 42, email: 'ada@example.com' },
      headers: { 'X-Scopes': 'read, write' },
    };
    expect(await clients.connections.testConnection({ connectionId })).toMatchObject({
      ...{ status: Status.VALID, providerAccountId: '42', providerAccountEmail: 'ada@example.com' },
      ...{ grantedScopes: ['read', 'write'], missingScopes: [], service: 'ours' },
    });
    expect(seen).toMatchObject([{ method: 'POST', url: '/eu/users/ada', headers: { 'x-version': '7' } }]);
    answer = { status: 200, body: { ok: false, id: 42 } };
    expect(await clients.connections.testConnection({ connectionId })).toMatchObject({
      ...{ success: false, status: Status.INVALID, providerAccountId: '' },
    });
    await clients.connections.updateConnection({ connectionId, config: {} });
    const lacking = await clients.connections.testConnection({ connectionId });
    expect(lacking).toMatchObject({ status: Status.MISCONFIGURED, reason: 'FIELD_INVALID' });
    expect(lacking.message).toContain('region');
    for (const echo of [
      'password-31cc',
      Buffer.from('ada:password-31cc').toString('base64'),
      'Basic YWRhOnBhc3N3b3Jk',
    ]) {
      await clients.connections.updateConnection({ connectionId, config: { region: 'us' } });
      answer = { status: 200, body: { ok: true, id: echo, email: `${echo}@x` }, headers: { 'X-Scopes': echo } };
      const report = await clients.connections.testConnection({ connectionId });
      expect(JSON.stringify({ ...report, health: null }), echo).not.toContain(echo);
    }
  });

  it('fetches the token of a login and of a client first, and another where one is refused', async () => {
    const clients = await as('admin');
    answer = { status: 200, body: { access_token: 'fetched', expires_in: 600, token_type: 'bearer' } };
    const url = `${service.url}/login`;
    const byLogin = await made(clients, {
      name: 'l',
      credential: login({ url, fields: { p: secret('password-31cc') } }),
    });
    expect(await clients.connections.testConnection({ connectionId: byLogin })).toMatchObject({ success: true });
    expect(seen.map(({ url }) => url)).toEqual(['/login', '/v1']);
    expect(seen[1]!.headers.authorization).toBe('Bearer fetched');
    answer = { status: 200, body: { access_token: 'of the client', expires_in: 600, token_type: 'bearer' } };
    const alone = await made(clients, {
      ...{ name: 'cc', baseUrl: '', credential: clientCredentials({ tokenUrl: `${service.url}/token` }) },
    });
    expect(await clients.connections.testConnection({ connectionId: alone })).toMatchObject({ status: Status.VALID });
    answer = { status: 401, body: { error: 'invalid_client' } };
    expect(await clients.connections.testConnection({ connectionId: alone })).toMatchObject({ status: Status.INVALID });
    seen = [];
    expect(await clients.connections.testConnection({ connectionId: byLogin })).toMatchObject({ success: false });
    expect(seen.map(({ url }) => url)).toEqual(['/v1', '/login']);
  });

  it('answers clearly where nobody is asked', async () => {
    const clients = await as('admin');
    const { connections, secrets } = clients;
    const test = async (given: Partial<Create>, name: string) =>
      connections.testConnection({ connectionId: await made(clients, { name, ...given }) });
    expect(await test({ disabled: true }, 'a')).toMatchObject({
      ...{ status: Status.DISABLED, reason: 'CONNECTION_DISABLED', service: 'bearer' },
    });
    const custom = { kind: { case: 'custom' as const, value: { fields: { x: secret('y') } } } };
    expect(await test({ credential: custom, baseUrl: '' }, 'b')).toMatchObject({
      status: Status.UNSUPPORTED,
      success: false,
    });
    expect(await test({ baseUrl: '' }, 'c')).toMatchObject({ status: Status.UNSUPPORTED });
    const ended = { kind: { case: 'bearer' as const, value: { token: secret('t'), expireTime: { seconds: 1n } } } };
    expect(await test({ credential: ended }, 'd')).toMatchObject({
      ...{ status: Status.EXPIRED, reason: 'CREDENTIAL_EXPIRED' },
    });
    await secrets.createSecret({ name: 's', value: 'v' });
    const referring = {
      kind: { case: 'bearer' as const, value: { token: { source: { case: 'secretRef' as const, value: 's' } } } },
    };
    const connectionId = await made(clients, { name: 'e', credential: referring });
    await secrets.deleteSecret({ name: 's', force: true });
    expect(await connections.testConnection({ connectionId })).toMatchObject({
      ...{ status: Status.MISCONFIGURED, reason: 'SECRET_MISSING' },
    });
    expect(seen).toHaveLength(0);
  });

  it('reports who does not answer, in time or at all', async () => {
    await using silent = await listenHttp(() => {});
    await using gone = await listenHttp(() => {});
    const { port } = gone;
    await gone[Symbol.asyncDispose]();
    const clients = await as('admin');
    const startedAt = performance.now();
    const late = await clients.connections.testConnection({
      connectionId: await made(clients, { name: 'late', baseUrl: silent.url, timeoutMs: 300 }),
    });
    expect(late).toMatchObject({ status: Status.UNREACHABLE, message: 'The service did not answer in time.' });
    expect(performance.now() - startedAt).toBeLessThan(3_000);
    const refused = await clients.connections.testConnection({
      connectionId: await made(clients, { name: 'gone', baseUrl: `http://127.0.0.1:${port}` }),
    });
    expect(refused).toMatchObject({ status: Status.UNREACHABLE, statusCode: 0 });
  });

  it('is audited, told and dated; it leaves etag and credential alone', async () => {
    const clients = await as('admin');
    const connectionId = await made(clients);
    await clients.connections.testConnection({ connectionId });
    const { connection } = await clients.connections.getConnection({ connectionId });
    expect(connection).toMatchObject({ etag: 'v1' });
    expect(connection!.lastTestedAt).toBeDefined();
    const { entries } = await clients.audit.listAuditEntries({});
    const actions = entries.map(({ action }) => action);
    expect(actions).toEqual(expect.arrayContaining(['connection_tested', 'connection_health_changed']));
    await expect
      .poll(async () => (await clients.audit.listAuditEntries({})).entries.map(({ action }) => action))
      .toContain('connection_check_started');
    const events = await server().database.sql<{ type: string; payload: object }>(
      'select type, payload from latchkey.outbox where tenant_id = $1 and aggregate_id = $2 order by type',
      [tenant(), connectionId],
    );
    expect(events).toMatchObject([
      { type: 'connection.created' },
      { type: 'connection.health_changed', payload: { previous: 'UNKNOWN', health: 'HEALTHY', status: 'VALID' } },
      { type: 'connection.tested', payload: { status: 'VALID', status_code: 200 } },
    ]);
    expect(JSON.stringify([entries.map(({ after }) => after), events]) + server().logLines.join('')).not.toContain(
      TOKEN,
    );
  });

  it('counts for the health, by the connection’s thresholds, and the list finds it', async () => {
    const clients = await as('admin');
    const { connections } = clients;
    const connectionId = await made(clients, { healthThresholds: { failures: 2, recoveries: 2 } });
    await made(clients, { name: 'never checked' });
    const health: (ConnectionHealth | undefined)[] = [];
    for (const status of [200, 401, 404, 500, 200, 429, 200]) {
      answer = { status };
      health.push((await connections.testConnection({ connectionId })).health?.health);
    }
    const { UNHEALTHY, HEALTHY, UNKNOWN } = ConnectionHealth;
    expect(health).toEqual([HEALTHY, HEALTHY, HEALTHY, UNHEALTHY, UNHEALTHY, UNHEALTHY, HEALTHY]);
    const named = async (of: ConnectionHealth) =>
      (await connections.listConnections({ health: of })).connections.map(({ name }) => name);
    expect([await named(HEALTHY), await named(UNHEALTHY), await named(UNKNOWN)]).toEqual([
      ['c'],
      [],
      ['never checked'],
    ]);
    const status = await connections.getConnectionStatus({ connectionId });
    expect(status.health).toMatchObject({ health: HEALTHY, lastStatus: Status.VALID, consecutiveFailures: 0 });
    expect(status.health?.since).toBeDefined();
  });

  it('is taken 10 times a minute from one user, and from others still', async () => {
    const { connections, ...clients } = await as('admin');
    const connectionId = await made({ connections, ...clients });
    const outcomes = await Promise.allSettled(
      Array.from({ length: 14 }, () => connections.testConnection({ connectionId })),
    );
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(10);
    const failure = await failureOf(connections.testConnection({ connectionId }));
    expect(failure).toMatchObject({
      ...{ code: 'ResourceExhausted', reason: 'RATE_LIMITED', metadata: { calls: '10', window_s: '60' } },
    });
    expect(failure.retryAfterMs).toBeGreaterThan(30_000);
    expect(failure.retryAfterMs).toBeLessThanOrEqual(60_000);
    const other = await as('admin', { subject: 'another' });
    expect((await other.connections.testConnection({ connectionId })).success).toBe(true);
    await server().database.sql(
      `update latchkey.rate_window set times = array(select t - interval '1 minute' from unnest(times) t) where tenant_id = $1`,
      [tenant()],
    );
    expect((await connections.testConnection({ connectionId })).success).toBe(true);
  });

  it('is for those who may use the connection; to others it does not exist', async () => {
    const admin = await as('admin');
    const connectionId = await made(admin);
    const absent = `conn_${'0'.repeat(26)}`;
    const approver = await as('approver');
    expect(await failureOf(approver.connections.testConnection({ connectionId }))).toMatchObject({
      ...{ reason: 'PERMISSION_MISSING', metadata: { permission: 'connection:use' } },
    });
    const there = await as('admin', { tenant: `${tenant()}-other` });
    const refusals = await Promise.all(
      [connectionId, absent].map(async (id) => {
        const { metadata, ...failure } = await failureOf(there.connections.testConnection({ connectionId: id }));
        return { ...failure, metadata: Object.keys(metadata) };
      }),
    );
    expect(refusals[0]).toEqual(refusals[1]);
    expect(refusals[0]).toMatchObject({ code: 'NotFound', reason: 'CONNECTION_NOT_FOUND' });
    const owner = await as('requestor');
    const owned = await made(owner, { name: 'mine' });
    expect((await owner.connections.testConnection({ connectionId: owned })).success).toBe(true);
    const stranger = await as('requestor', { subject: 'stranger' });
    expect((await failureOf(stranger.connections.testConnection({ connectionId: owned }))).reason).toBe(
      'CONNECTION_NOT_FOUND',
    );
  });

  it('keeps how a connection is checked, and lets no one have it checked who may not use it', async () => {
    const admin = await as('admin');
    const { connections, access } = admin;
    const check = { path: '/me', outcomes: { 403: 'valid' } };
    const connectionId = await made(admin, { check, checkSchedule: CheckSchedule.DAILY });
    const read = async () => (await connections.getConnection({ connectionId })).connection!;
    expect(await read()).toMatchObject({
      ...{ check: { path: '/me', method: 'GET', outcomes: { 403: 'valid' } }, checkSchedule: CheckSchedule.DAILY },
      ...{ healthThresholds: { failures: 3, recoveries: 2 }, health: { health: ConnectionHealth.UNKNOWN } },
    });
    expect((await read()).health!.nextCheckTime).toBeDefined();
    await connections.updateConnection({ connectionId, check: {}, checkSchedule: CheckSchedule.OFF });
    expect(await read()).toMatchObject({ checkSchedule: CheckSchedule.OFF });
    expect((await read()).check).toBeUndefined();
    expect((await read()).health!.nextCheckTime).toBeUndefined();
    await connections.updateConnection({ connectionId, healthThresholds: { failures: 9 } });
    expect(await read()).toMatchObject({ healthThresholds: { failures: 9, recoveries: 2 } });
    const { secret: key } = await access.createApiKey({
      ...{ displayName: 'k', scopes: ['connection:create', 'connection:update', 'connection:read'] },
    });
    const limited = server().clients(transport, { authorization: `Bearer ${key}` });
    for (const given of [{ check: { path: '/delete' } }, { checkSchedule: CheckSchedule.HOURLY }]) {
      const refused = { reason: 'PERMISSION_MISSING', metadata: { permission: 'connection:use' } };
      expect(await failureOf(limited.connections.updateConnection({ connectionId, ...given }))).toMatchObject(refused);
      expect(await failureOf(made(limited, { name: 'x', ...given }))).toMatchObject(refused);
    }
  });
});

describeRpc(
  'ConnectionService.TestConnection, where nothing private is allowed',
  ({ as }) => {
    it('reaches no private address by any kind of credential: not one packet', async () => {
      const clients = await as('admin');
      const { port } = service;
      const before = service.connections;
      const password = secret('p');
      const server = { host: '127.0.0.1', port, username: 'u', password };
      const credentials = {
        http: bearer(TOKEN),
        smtp: { kind: { case: 'smtp' as const, value: { ...server, security: 1 } } },
        ftp: { kind: { case: 'ftp' as const, value: { ...server, host: '127.1', security: 3 } } },
        aws: {
          kind: {
            case: 'aws' as const,
            value: { accessKeyId: 'AK', secretAccessKey: password, bucket: 'b', endpoint: service.url },
          },
        },
        login: login({ url: service.url, fields: { p: password } }),
        client: clientCredentials({ tokenUrl: service.url }),
      };
      for (const [name, credential] of Object.entries(credentials) as [string, Create['credential']][]) {
        const connectionId = await made(clients, { name, credential });
        expect(await clients.connections.testConnection({ connectionId }), name).toMatchObject({
          ...{ success: false, status: Status.MISCONFIGURED, reason: 'ADDRESS_FORBIDDEN', statusCode: 0 },
        });
      }
      expect(service.connections).toBe(before);
    });
  },
  { EGRESS_ALLOW: 'example.invalid' },
);
