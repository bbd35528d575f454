import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type Authorization,
  AuthorizationMethod,
  AuthorizationStatus,
} from '../../gen/latchkey/v1/authorization_pb.ts';
import { connect, credentialOf, setUp } from '../harness/authorizations.ts';
import { failureOf } from '../harness/errors.ts';
import { type Answer, ScriptedProvider } from '../harness/scripted-provider.ts';
import { type Clients, TestServer } from '../harness/server.ts';

let server: TestServer;
let provider: ScriptedProvider;
let clients: Clients;
let integrationId: string;
let tenants = 0;

const DEVICE = { method: AuthorizationMethod.DEVICE };
const PENDING: Answer = { status: 400, body: { error: 'authorization_pending' } };
const SLOW_DOWN: Answer = { status: 400, body: { error: 'slow_down' } };
const GRANTED: Answer = { body: { access_token: 'at-device', token_type: 'bearer', refresh_token: 'rt' } };
const SOON = { timeout: 15_000, interval: 50 };

beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.stop());
/** A provider each: what one test leaves pending goes on asking its own. */
beforeEach(async () => {
  provider = await ScriptedProvider.start();
  clients = await server.as('admin', { tenant: `devices-${++tenants}` });
  integrationId = await setUp(clients, provider.definition('scripted'));
});
afterEach(() => provider.stop());

const statusOf = async (authorizationId: string) =>
  (await clients.connections.getAuthorization({ authorizationId })).authorization!.status;

/** All that is told until the end. */
async function watch(authorizationId: string): Promise<Authorization[]> {
  const told: Authorization[] = [];
  for await (const { authorization } of clients.connections.watchAuthorization({ authorizationId }))
    told.push(authorization!);
  return told;
}

/** Seconds. */
const untilNextPollOf = async (id: string) => {
  const [job] = await server.database.sql<{ s: number }>(
    `select extract(epoch from run_at - now())::float as s from graphile_worker._private_jobs where payload ->> 'id' = $1 and key is not null and locked_at is null`,
    [id],
  );
  return job?.s ?? 0;
};

const storedIntervalOf = async (id: string) => {
  const [row] = await server.database.sql<{ s: number }>(
    `select (device ->> 'intervalS')::numeric::float as s from latchkey.app_authorization where id = $1`,
    [id],
  );
  return row!.s;
};

describe('A device authorization', () => {
  it('shows the code, asks at the interval, and tells when it is granted', async () => {
    provider.answers('/token', PENDING, PENDING, GRANTED);
    const started = await connect(clients, integrationId, 'mine', DEVICE);
    const startedAt = Date.now();
    expect(started).toMatchObject({
      ...{ url: '', userCode: 'WDJB-MJHT', verificationUri: `${provider.url}/enter` },
      ...{ status: AuthorizationStatus.PENDING, method: AuthorizationMethod.DEVICE },
    });
    expect(JSON.stringify(started.verificationUriComplete)).not.toContain('dc-');
    const told = await watch(started.id);
    expect(told.map(({ status }) => status)).toEqual([AuthorizationStatus.PENDING, AuthorizationStatus.SUCCEEDED]);
    const polls = provider.to('/token');
    expect(polls).toHaveLength(3);
    const pauses = polls.map(({ at }, index) => at - (polls[index - 1]?.at ?? startedAt));
    for (const pause of pauses) expect(pause).toBeGreaterThanOrEqual(950);
    expect(polls[0]!.body).toMatchObject({
      ...{ grant_type: 'urn:ietf:params:oauth:grant-type:device_code', device_code: expect.stringMatching(/^dc-/) },
    });
    expect((await credentialOf(clients, started.connectionId)).accessToken).toBe('at-device');
  });

  it('asks five seconds less often from each slow_down on', async () => {
    provider.answers('/token', SLOW_DOWN, PENDING);
    const { id } = await connect(clients, integrationId, 'mine', DEVICE);
    await expect.poll(() => storedIntervalOf(id), SOON).toBe(6);
    await expect.poll(() => untilNextPollOf(id), SOON).toBeGreaterThan(4.5);
    expect(provider.count('/token')).toBe(1);
    expect(await statusOf(id)).toBe(AuthorizationStatus.PENDING);
  });

  it('asks no sooner than the provider wants', async () => {
    provider.answers('/token', { status: 429, headers: { 'retry-after': '60' } });
    const { id } = await connect(clients, integrationId, 'mine', DEVICE);
    await expect.poll(() => untilNextPollOf(id), SOON).toBeGreaterThan(50);
    expect(provider.count('/token')).toBe(1);
  });

  it.each<[string, Answer, AuthorizationStatus, string]>([
    ['expired_token', { status: 400, body: { error: 'expired_token' } }, AuthorizationStatus.EXPIRED, ''],
    [
      'access_denied',
      { status: 400, body: { error: 'access_denied' } },
      AuthorizationStatus.FAILED,
      'AUTHORIZATION_DENIED',
    ],
    [
      'invalid_client',
      { status: 401, body: { error: 'invalid_client' } },
      AuthorizationStatus.FAILED,
      'INTEGRATION_MISCONFIGURED',
    ],
    ['a page', { body: '<p>Hello</p>' }, AuthorizationStatus.FAILED, 'AUTHORIZATION_FAILED'],
  ])('ends with %s, and is not asked for again', async (_, answer, status, reason) => {
    provider.answers('/token', answer);
    const { id } = await connect(clients, integrationId, 'mine', DEVICE);
    const told = await watch(id);
    expect(told.at(-1)).toMatchObject({ status, reason });
    const left = await server.database.sql(
      `select 1 from graphile_worker._private_jobs where payload ->> 'id' = $1 and locked_at is null`,
      [id],
    );
    expect(left).toEqual([]);
    expect(provider.count('/token')).toBe(1);
  });

  it('goes on after an answer that passes by itself', async () => {
    provider.answers('/token', { status: 503 }, GRANTED);
    const { id } = await connect(clients, integrationId, 'mine', DEVICE);
    expect((await watch(id)).at(-1)!.status).toBe(AuthorizationStatus.SUCCEEDED);
    expect(provider.count('/token')).toBe(2);
  });

  it('is over when its time is, without another question', async () => {
    provider.answers('/device', {
      body: {
        ...{ device_code: 'd', user_code: 'u', interval: 1 },
        verification_uri: 'https://x.example',
        expires_in: 1,
      },
    });
    provider.answers('/token', PENDING);
    const { id } = await connect(clients, integrationId, 'mine', DEVICE);
    expect((await watch(id)).at(-1)!.status).toBe(AuthorizationStatus.EXPIRED);
    await expect
      .poll(
        () => server.database.sql(`select 1 from graphile_worker._private_jobs where payload ->> 'id' = $1`, [id]),
        SOON,
      )
      .toEqual([]);
    expect(provider.count('/token')).toBeLessThanOrEqual(1);
  });

  it.each<[string, Record<string, unknown>, string]>([
    ['no interval', { interval: undefined }, ''],
    ['a tiny interval', { interval: 0.001 }, ''],
    ['an endless life', { expires_in: 1e20 }, ''],
    ['an endless interval', { interval: 1e20 }, ''],
    ['unstorable text', { user_code: 'a\0b' }, ''],
    ['an interval of nothing', { interval: 0 }, 'AUTHORIZATION_FAILED'],
    ['no code', { device_code: '' }, 'AUTHORIZATION_FAILED'],
    ['no life', { expires_in: 'x' }, 'AUTHORIZATION_FAILED'],
    ['a page to run', { verification_uri: 'javascript:alert(1)' }, 'AUTHORIZATION_FAILED'],
    ['another page to run', { verification_uri_complete: 'data:text/html,x' }, 'AUTHORIZATION_FAILED'],
  ])('is begun, or refused, whatever the provider answers: %s', async (_, changes, reason) => {
    const usual = { device_code: 'd', user_code: 'u', verification_uri: 'https://x.example', expires_in: 600 };
    provider.answers('/device', { body: { ...usual, interval: 5, ...changes } });
    provider.answers('/token', PENDING);
    const starting = connect(clients, integrationId, 'mine', DEVICE);
    if (reason) {
      expect((await failureOf(starting)).reason).toBe(reason);
      return;
    }
    const { id, status } = await starting;
    expect(status).toBe(AuthorizationStatus.PENDING);
    const intervalS = await storedIntervalOf(id);
    expect(intervalS).toBeGreaterThanOrEqual(1);
    expect(intervalS).toBeLessThanOrEqual(3600);
  });

  it.each<[Answer, string]>([
    [{ status: 401, body: { error: 'invalid_client' } }, 'INTEGRATION_MISCONFIGURED'],
    [{ status: 503 }, 'PROVIDER_UNAVAILABLE'],
    [{ status: 429 }, 'PROVIDER_RATE_LIMITED'],
    [{ status: 302, headers: { location: '/elsewhere' } }, 'AUTHORIZATION_FAILED'],
  ])('is not begun where the provider answers %j', async (answer, reason) => {
    provider.answers('/device', answer);
    expect((await failureOf(connect(clients, integrationId, 'mine', DEVICE))).reason).toBe(reason);
    expect(provider.requests.map(({ path }) => path)).toEqual(['/device']);
    expect((await clients.connections.listConnections({})).connections).toEqual([]);
  });
});
