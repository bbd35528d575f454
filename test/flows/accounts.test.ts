import { Client, credentials } from '@grpc/grpc-js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AccountStatus } from '../../gen/latchkey/v1/account_pb.ts';
import { ProviderRevocation } from '../../gen/latchkey/v1/connection_service_pb.ts';
import { HealthStatus } from '../../gen/latchkey/v1/integration_service_pb.ts';
import { Keyring } from '../../src/crypto/keyring.ts';
import { MasterKeys } from '../../src/crypto/master-keys.ts';
import { dataKeyStore } from '../../src/db/data-keys.ts';
import { openInstallation } from '../../src/db/installation.ts';
import { openOrm, poolOf } from '../../src/db/orm.ts';
import { auditKeysOf } from '../../src/domain/audit/audit-id.ts';
import { rotateKeys } from '../../src/domain/keys/rotate-keys.ts';
import { AccountWorld, accountOf, bearerOf, setUpLangflow } from '../harness/accounts.ts';
import { createTestDatabase } from '../harness/database.ts';
import { failureOf } from '../harness/errors.ts';
import { type LangflowVersion, startLangflow } from '../harness/langflow.ts';
import { type Clients, newMasterKey, TestServer, TRANSPORTS } from '../harness/server.ts';

const UNAVAILABLE = {
  ...{ reason: 'PROVIDER_UNAVAILABLE', code: 'Unavailable', retryAfterMs: 5_000 },
  metadata: { provider_error: 'unreachable' },
};

/** The account is one, whole and usable: one user there, made since `before`, one key of it, one connection that hands that key out. */
async function expectOne(world: AccountWorld, clients: Clients, before: ReadonlySet<string>): Promise<string> {
  const { langflow } = world;
  const account = await accountOf(clients);
  expect(account.status).toBe(AccountStatus.ACTIVE);
  expect(world.usersSince(before)).toEqual([account.username]);
  const user = langflow.users.get(account.username)!;
  expect(user).toMatchObject({ id: account.providerAccountId, is_active: true, is_superuser: false });
  const { apiKey } = await clients.langflow.getApiKey({});
  expect(langflow.keys.filter(({ user_id }) => user_id === user.id).map(({ api_key }) => api_key)).toEqual([apiKey]);
  expect(await world.ownerOf(apiKey)).toBe(account.username);
  const { connections } = await clients.connections.listConnections({});
  expect(connections.map(({ id, providerAccountId }) => [id, providerAccountId])).toEqual([
    [account.connectionId, user.id],
  ]);
  const { headers } = await clients.connections.getCredentials({ connectionId: account.connectionId });
  expect(headers.map(({ name, value }) => [name, value])).toEqual([['x-api-key', apiKey]]);
  await clients.langflow.listFlows({});
  expect(await world.rows()).toMatchObject([{ status: 'ACTIVE', username: account.username, remote_id: user.id }]);
  return apiKey;
}

const USERS = /\/users\/$/;
const USER = /\/users\/[0-9a-f-]{36}$/;
const LOGIN = /\/login$/;
const KEYS = /\/api_key\/$/;
const KEY = /\/api_key\/[0-9a-f-]{36}$/;
const WHO = /\/whoami$/;
const REFRESH = /\/refresh$/;

type Step = readonly [method: string, path: RegExp];

/** As an account is made. */
const STEPS: Step[] = [
  ['POST', USERS],
  ['PATCH', USER],
  ['POST', LOGIN],
  ['GET', KEYS],
  ['POST', KEYS],
  ['GET', WHO],
];
const BOTH = ['before', 'after'] as const;

describe.each<LangflowVersion>(['1.7', '1.13'])('An account at Langflow %s that is being made', (version) => {
  let world: AccountWorld;
  let clients: Clients;
  let before: ReadonlySet<string>;
  beforeAll(async () => {
    world = await AccountWorld.start({ version, replicas: 2 });
  });
  afterAll(() => world[Symbol.asyncDispose]());
  beforeEach(async () => {
    world.newTenant();
    clients = await world.as();
    before = new Set(world.langflow.users.keys());
  });

  /** The next request of the step fails, and with it EnsureAccount. */
  async function failsAt([method, path]: Step, drop: 'before' | 'after'): Promise<void> {
    world.langflow.next(method, path, { drop });
    expect(await failureOf(accountOf(clients))).toMatchObject(UNAVAILABLE);
    world.langflow.settle();
  }

  describe.each(STEPS)('where %s %s fails', (...step) => {
    it.each(BOTH)('%s it was done, goes on when it is asked for again', async (drop) => {
      await failsAt(step, drop);
      await expectOne(world, clients, before);
    });
  });

  it('goes on however often it is interrupted, at whatever replica', async () => {
    const replicas = [clients, await world.as({ replica: 1 })];
    for (const step of STEPS) {
      for (const drop of BOTH) {
        clients = replicas.reverse()[0]!;
        // A key that cannot be looked at a second time is taken to work.
        if (step[1] !== WHO || drop === 'before') await failsAt(step, drop);
      }
    }
    await expectOne(world, clients, before);
  });

  it('takes over the user that a lost answer was about, where that look-up fails, too', async () => {
    await failsAt(['POST', USERS], 'after');
    await failsAt(['GET', USERS], 'before');
    await failsAt(['PATCH', USER], 'before');
    await failsAt(['PATCH', USER], 'after');
    await expectOne(world, clients, before);
  });

  it('leaves no key behind that an interrupted attempt made', async () => {
    await failsAt(['POST', KEYS], 'after');
    await failsAt(['DELETE', KEY], 'before');
    await failsAt(['DELETE', KEY], 'after');
    await failsAt(['POST', KEYS], 'after');
    await expectOne(world, clients, before);
  });

  it('is one for forty callers at two replicas', async () => {
    const other = await world.as({ replica: 1 });
    const all = await Promise.all(Array.from({ length: 40 }, (_, i) => accountOf(i % 2 ? clients : other)));
    expect(new Set(all.map(({ id, connectionId }) => `${id} ${connectionId}`)).size).toBe(1);
    expect(world.langflow.count('POST', USERS)).toBeGreaterThan(0);
    await expectOne(world, clients, before);
  });
});

describe('An account that no longer works there', () => {
  let world: AccountWorld;
  let clients: Clients;
  let before: ReadonlySet<string>;
  let username: string;
  let oldKey: string;
  let flowId: string;
  beforeAll(async () => {
    world = await AccountWorld.start({ replicas: 2 });
  });
  afterAll(() => world[Symbol.asyncDispose]());
  beforeEach(async () => {
    world.newTenant();
    clients = await world.as();
    before = new Set(world.langflow.users.keys());
    ({ username } = await accountOf(clients));
    ({ apiKey: oldKey } = await clients.langflow.getApiKey({}));
    flowId = (await clients.langflow.createFlow({ name: 'echo' })).flow!.id;
  });

  const user = () => world.langflow.users.get(username)!;
  const run = () => clients.langflow.runFlow({ run: { flowId, inputValue: 'hello' } });
  const runs = () => world.langflow.runs.filter(({ flow }) => flow.id === flowId);
  /** As `expectOne`; the key is another one. */
  async function expectMended(): Promise<void> {
    expect(await expectOne(world, clients, before)).not.toBe(oldKey);
    expect(await world.ownerOf(oldKey)).toBeNull();
  }
  /** Somebody revokes all its keys there. */
  const revokeKeys = () => world.langflow.removeKeys(user());

  it('because its key was revoked there, gets another, and what was refused is done, once', async () => {
    revokeKeys();
    expect(await run()).toMatchObject({ text: 'hello' });
    expect(runs()).toHaveLength(1);
    await expectMended();
  });

  it('gets one other key, however many find out, at two replicas', async () => {
    const other = await world.as({ replica: 1 });
    await other.langflow.listFlows({});
    const made = world.langflow.count('POST', KEYS);
    revokeKeys();
    await Promise.all(Array.from({ length: 20 }, (_, i) => (i % 2 ? clients : other).langflow.listFlows({})));
    expect(world.langflow.count('POST', KEYS)).toBe(made + 1);
    await expectMended();
  });

  it('is found out by EnsureAccount, too, once that looks again', async () => {
    revokeKeys();
    await world.forgetChecks();
    await accountOf(clients);
    await expectMended();
  });

  describe.each<Step>([
    ['POST', LOGIN],
    ['GET', KEYS],
    ['POST', KEYS],
    ['GET', WHO],
  ])('and whose mending fails at %s %s', (...step) => {
    it.each(BOTH)('%s it was done, is mended at the next call', async (drop) => {
      revokeKeys();
      // The first look at the key is at GET whoami, and has its answer.
      const [method, path] = step;
      if (path === WHO) {
        const looked = world.langflow.next('GET', WHO, { hold: 'before' });
        const asked = failureOf(clients.langflow.listFlows({}));
        await looked.arrived;
        world.langflow.next(method, path, { drop });
        looked.release();
        expect(await asked).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE' });
      } else {
        world.langflow.next(method, path, { drop });
        expect(await failureOf(clients.langflow.listFlows({}))).toMatchObject({ reason: 'PROVIDER_UNAVAILABLE' });
      }
      await clients.langflow.listFlows({});
      await expectMended();
    });
  });

  it('because somebody deactivated it, stays so, and works again once they have changed their mind', async () => {
    user().is_active = false;
    const refused = { reason: 'INTEGRATION_MISCONFIGURED', metadata: { provider_error: 'login_refused' } };
    expect(await failureOf(clients.langflow.listFlows({}))).toMatchObject(refused);
    expect(user().is_active).toBe(false);
    user().is_active = true;
    await clients.langflow.listFlows({});
    expect(await expectOne(world, clients, before)).toBe(oldKey);
  });

  it('because its password was changed and its keys revoked, gets its password back', async () => {
    user().password = 'somebody else’s';
    revokeKeys();
    await clients.langflow.listFlows({});
    expect(user().password).not.toBe('somebody else’s');
    await expectMended();
  });

  it('because it was deleted, is made anew under its name, and its connection stays', async () => {
    const { id, connectionId, providerAccountId } = await accountOf(clients);
    world.langflow.removeUser(user());
    await clients.langflow.listFlows({});
    const again = await accountOf(clients);
    expect(again).toMatchObject({ id, connectionId, username });
    expect(again.providerAccountId).not.toBe(providerAccountId);
    await expectMended();
  });

  it('because its password was changed, is of use as long as its key is, and logs in when it must', async () => {
    user().password = 'somebody else’s';
    const bearer = await bearerOf(clients);
    await clients.langflow.listFlows({});
    expect(user().password).toBe('somebody else’s');
    world.langflow.next('POST', REFRESH, { answer: { status: 401, body: { detail: 'Invalid refresh token' } } });
    await clients.langflow.refreshTokens({});
    expect(user().password).not.toBe('somebody else’s');
    expect(bearer).toMatch(/^Bearer ey/);
    expect(await expectOne(world, clients, before)).toBe(oldKey);
  });

  it('gets another key where its connection was revoked', async () => {
    const { connectionId } = await accountOf(clients);
    await clients.connections.revokeConnection({ connectionId });
    expect(await failureOf(clients.connections.getCredentials({ connectionId }))).toMatchObject({
      reason: 'REAUTHORIZATION_REQUIRED',
    });
    expect((await accountOf(clients)).connectionId).toBe(connectionId);
    await expectMended();
  });

  it.each(BOTH)('gets another key where its connection was revoked and the mending failed %s', async (drop) => {
    const { connectionId } = await accountOf(clients);
    await clients.connections.revokeConnection({ connectionId });
    world.langflow.next('GET', WHO, { drop });
    expect(await failureOf(accountOf(clients))).toMatchObject(UNAVAILABLE);
    await accountOf(clients);
    await expectMended();
  });

  it('gets another connection and key where that was deleted', async () => {
    const { id, connectionId } = await accountOf(clients);
    await clients.connections.deleteConnection({ connectionId });
    const again = await accountOf(clients);
    expect(again.id).toBe(id);
    expect(again.connectionId).not.toBe(connectionId);
    await expectMended();
  });

  it('has its key ended there where its connection was revoked', async () => {
    const { connectionId } = await accountOf(clients);
    const { providerRevocation } = await clients.connections.revokeConnection({ connectionId });
    expect(providerRevocation).toBe(ProviderRevocation.SCHEDULED);
    await expect.poll(() => world.ownerOf(oldKey), { timeout: 10_000 }).toBeNull();
    await accountOf(clients);
    await expectMended();
  });

  it('is not there for use where its connection was revoked, until somebody asks for it', async () => {
    const { connectionId } = await accountOf(clients);
    await clients.connections.revokeConnection({ connectionId });
    const uses = [run, () => clients.langflow.getApiKey({}), () => bearerOf(clients)];
    for (const use of uses) expect(await failureOf(use())).toMatchObject({ reason: 'REAUTHORIZATION_REQUIRED' });
    expect(runs()).toHaveLength(0);
    await accountOf(clients);
    expect(await run()).toMatchObject({ text: 'hello' });
    await expectMended();
  });

  it('is not used where its connection is disabled', async () => {
    const { connectionId } = await accountOf(clients);
    const admin = await world.as({ role: 'admin', subject: 'root' });
    await admin.connections.disableConnection({ connectionId });
    const disabled = { reason: 'CONNECTION_DISABLED', metadata: { connection_id: connectionId } };
    const hits = world.langflow.hits.length;
    expect(await failureOf(run())).toMatchObject(disabled);
    expect(await failureOf(clients.langflow.getApiKey({}))).toMatchObject(disabled);
    expect(await failureOf(bearerOf(clients))).toMatchObject(disabled);
    expect(await failureOf(clients.langflow.refreshTokens({}))).toMatchObject(disabled);
    expect(world.langflow.hits).toHaveLength(hits);
    await admin.connections.enableConnection({ connectionId });
    expect(await run()).toMatchObject({ text: 'hello' });
  });

  it.each(BOTH)('is deleted though that was interrupted %s it was done', async (drop) => {
    const { id: accountId, connectionId } = await accountOf(clients);
    world.langflow.next('DELETE', USER, { drop });
    expect(await failureOf(clients.integrations.deleteAccount({ accountId }))).toMatchObject(UNAVAILABLE);
    expect(await failureOf(clients.connections.getConnection({ connectionId }))).toMatchObject({
      reason: 'CONNECTION_NOT_FOUND',
    });
    await clients.integrations.deleteAccount({ accountId });
    expect(world.usersSince(before)).toEqual([]);
    expect(await world.rows()).toEqual([]);
    expect((await accountOf(clients)).id).not.toBe(accountId);
    await expectOne(world, clients, before);
  });

  it.each(BOTH)(
    'is another one where its removal, interrupted %s it was done, was not asked for again',
    async (drop) => {
      const { id: accountId } = await accountOf(clients);
      world.langflow.next('DELETE', USER, { drop });
      expect(await failureOf(clients.integrations.deleteAccount({ accountId }))).toMatchObject(UNAVAILABLE);
      const again = await accountOf(clients);
      expect(again.id).not.toBe(accountId);
      expect(world.usersSince(before)).toEqual([again.username]);
      await expectMended();
    },
  );

  it.each(BOTH)('is removed by a job where that was interrupted %s it was done', async (drop) => {
    const { id: accountId } = await accountOf(clients);
    world.langflow.next('DELETE', USER, { drop });
    expect(await failureOf(clients.integrations.deleteAccount({ accountId }))).toMatchObject(UNAVAILABLE);
    const left = async () => {
      await world.runJobsNow();
      return (await world.rows()).length;
    };
    await expect.poll(left, { timeout: 20_000, interval: 100 }).toBe(0);
    expect(world.usersSince(before)).toEqual([]);
  });

  it('is of use here while Langflow is away, and there when it is back', async () => {
    const bearer = await bearerOf(clients);
    await world.forgetChecks();
    world.langflow.set({ down: true });
    expect(await accountOf(clients)).toMatchObject({ username, status: AccountStatus.ACTIVE });
    expect(await clients.langflow.getApiKey({})).toMatchObject({ apiKey: oldKey });
    expect(await bearerOf(clients)).toBe(bearer);
    expect(await failureOf(run())).toMatchObject(UNAVAILABLE);
    const bob = await world.as({ subject: 'bob' });
    expect(await failureOf(accountOf(bob))).toMatchObject(UNAVAILABLE);
    world.langflow.set({ down: false });
    expect(await run()).toMatchObject({ text: 'hello' });
    expect(await accountOf(bob)).toMatchObject({ status: AccountStatus.ACTIVE });
  });
});

describe('A secret key of Langflow that was changed', () => {
  async function rotated(adminKey?: string) {
    const world = await AccountWorld.start(adminKey ? { adminKey } : {});
    world.newTenant();
    const clients = await world.as();
    const { username } = await accountOf(clients);
    const { apiKey } = await clients.langflow.getApiKey({});
    const bearer = await bearerOf(clients);
    const { flow } = await clients.langflow.createFlow({ name: 'echo' });
    world.langflow.rotateSecretKey();
    expect(await world.ownerOf(apiKey)).toBeNull();
    const run = { flowId: flow!.id, inputValue: 'still here' };
    return { world, clients, username, apiKey, bearer, run, before: new Set(['admin']) };
  }

  it('kills all keys of users: they get others, and what was refused is done, once', async () => {
    const { world, clients, apiKey, bearer, run, before } = await rotated('the-superusers-own-key');
    await using _ = world;
    expect(await clients.langflow.runFlow({ run })).toMatchObject({ text: 'still here' });
    expect(world.langflow.runs).toHaveLength(1);
    expect(await expectOne(world, clients, before)).not.toBe(apiKey);
    const renewed = await bearerOf(clients);
    const who = await fetch(`${world.langflow.url}/api/v1/users/whoami`, { headers: { authorization: renewed } });
    expect([who.status, renewed === bearer]).toEqual([200, false]);
  });

  it('kills passwords that somebody changed no more than others', async () => {
    const { world, clients, username, run, before } = await rotated('the-superusers-own-key');
    await using _ = world;
    Object.assign(world.langflow.users.get(username)!, { password: 'somebody else’s' });
    expect(await clients.langflow.runFlow({ run })).toMatchObject({ text: 'still here' });
    await expectOne(world, clients, before);
  });

  it('kills the superuser’s key where that is one of them, and all works again with another one', async () => {
    const { world, clients, apiKey, run, before } = await rotated();
    await using _ = world;
    world.langflow.set({ enableSignUp: false });
    const metadata = { provider_error: 'admin_key_refused' };
    const refused = { reason: 'INTEGRATION_MISCONFIGURED', code: 'FailedPrecondition', metadata };
    expect(await failureOf(clients.langflow.runFlow({ run }))).toMatchObject(refused);
    const bob = await world.as({ subject: 'bob' });
    expect(await failureOf(accountOf(bob))).toMatchObject(refused);
    expect(world.langflow.runs).toEqual([]);
    expect((await clients.langflow.getApiKey({})).apiKey).toBe(apiKey);
    // The operator sets the new one.
    const replica = world.servers.length;
    await world.startReplica({ LANGFLOW_ADMIN_API_KEY: world.langflow.adminKey });
    const again = await world.as({ replica });
    expect(await again.langflow.runFlow({ run })).toMatchObject({ text: 'still here' });
    expect(world.langflow.runs).toHaveLength(1);
    await accountOf(await world.as({ subject: 'bob', replica }));
    expect(world.usersSince(before)).toHaveLength(2);
  });
});

describe('Langflow’s limit of logins', () => {
  let world: AccountWorld;
  beforeAll(async () => {
    world = await AccountWorld.start({ switches: { loginsPerMinute: 5 } });
  });
  afterAll(() => world[Symbol.asyncDispose]());
  beforeEach(() => {
    world.newTenant();
    world.langflow.forgetLogins();
  });

  it('is told with the time to wait; until then nobody logs in, and later a job does', async () => {
    const before = new Set(world.langflow.users.keys());
    const paused = { status: 429, headers: { 'retry-after': '2' }, body: { detail: 'Too many login attempts.' } };
    world.langflow.next('POST', LOGIN, { answer: paused });
    const [ada, bob] = [await world.as(), await world.as({ subject: 'bob' })];
    const limited = { reason: 'PROVIDER_RATE_LIMITED', code: 'ResourceExhausted' };
    const metadata = { provider_error: 'too_many_requests' };
    expect(await failureOf(accountOf(ada))).toMatchObject({ ...limited, metadata, retryAfterMs: 2_000 });
    const logins = world.langflow.count('POST', LOGIN);
    const told = await Promise.all([ada, bob, ada, bob].map((clients) => failureOf(accountOf(clients))));
    for (const failure of told) {
      expect(failure).toMatchObject({ ...limited, metadata });
      expect(failure.retryAfterMs).toBeLessThan(2_000);
    }
    expect(world.langflow.count('POST', LOGIN)).toBe(logins);
    // What needs no login goes on.
    expect(world.usersSince(before)).toHaveLength(2);
    const active = async () => {
      await world.runJobsNow();
      return (await world.rows()).map(({ status }) => status);
    };
    await expect.poll(active, { timeout: 20_000, interval: 100 }).toEqual(['ACTIVE', 'ACTIVE']);
    expect(world.langflow.count('POST', LOGIN)).toBe(logins + 2);
    expect(world.usersSince(before)).toHaveLength(2);
    expect(await ada.langflow.listFlows({})).toMatchObject({ flows: [] });
  });

  it('is that of one address for all users: the rest of them wait', async () => {
    const users = await Promise.all(Array.from({ length: 8 }, (_, i) => world.as({ subject: `user-${i}` })));
    const outcomes = await Promise.all(users.map((clients) => accountOf(clients).catch((error: unknown) => error)));
    const failures = await Promise.all(
      outcomes.filter((outcome) => outcome instanceof Error).map((error) => failureOf(Promise.reject(error))),
    );
    expect(failures).toHaveLength(3);
    for (const { reason, retryAfterMs } of failures) {
      expect(reason).toBe('PROVIDER_RATE_LIMITED');
      expect(retryAfterMs).toBeGreaterThan(50_000);
    }
    // The keys of the others need no login.
    const working = users.filter((_, i) => !(outcomes[i] instanceof Error));
    await Promise.all(working.map((clients) => clients.langflow.listFlows({})));
  });
});

describe('Tokens of an account', () => {
  let world: AccountWorld;
  let clients: Clients;
  /** By how much Langflow's clock is ahead, in s. */
  let ahead = 0;
  beforeAll(async () => {
    world = await AccountWorld.start({ replicas: 2, now: () => Date.now() + ahead * 1_000 });
  });
  afterAll(() => world[Symbol.asyncDispose]());
  beforeEach(async () => {
    world.newTenant();
    clients = await world.as();
    ahead = 0;
  });

  const counts = () => [LOGIN, REFRESH].map((path) => world.langflow.count('POST', path));
  const works = async (authorization: string) => {
    const answer = await fetch(`${world.langflow.url}/api/v1/users/whoami`, { headers: { authorization } });
    return answer.status === 200;
  };
  /** They were made two hours ago, for an hour. */
  async function old(refreshTokenS = 604_800): Promise<void> {
    ahead = -7_200;
    world.langflow.set({ refreshTokenS });
    await accountOf(clients);
    ahead = 0;
    world.langflow.set({ refreshTokenS: 604_800 });
  }

  it('are those of its login as long as they last, and after a restart', async () => {
    const account = await accountOf(clients);
    const before = counts();
    const bearer = await bearerOf(clients);
    expect(await works(bearer)).toBe(true);
    expect(await bearerOf(await world.as({ replica: 1 }))).toBe(bearer);
    const replica = world.servers.length;
    await world.startReplica();
    const again = await world.as({ replica });
    expect(await bearerOf(again)).toBe(bearer);
    expect(await accountOf(again)).toEqual(account);
    expect(counts()).toEqual(before);
  });

  it('are renewed by the cookie once they last no longer, by one request for forty callers at two replicas', async () => {
    await old();
    const [logins, refreshes] = counts();
    const other = await world.as({ replica: 1 });
    const all = await Promise.all(Array.from({ length: 40 }, (_, i) => bearerOf(i % 2 ? clients : other)));
    expect(new Set(all).size).toBe(1);
    expect(await works(all[0]!)).toBe(true);
    expect(counts()).toEqual([logins, refreshes! + 1]);
    const [hit] = world.langflow.hits.filter(({ path }) => REFRESH.test(path)).slice(-1);
    expect(hit).toMatchObject({ text: '', credential: 'none' });
    expect(hit!.headers.cookie).toMatch(/^refresh_token_lf=ey[\w.-]+$/);
  });

  it('come of a login where the refresh token is over, too', async () => {
    await old(60);
    const [logins, refreshes] = counts();
    const bearer = await bearerOf(clients);
    expect(await works(bearer)).toBe(true);
    expect(counts()).toEqual([logins! + 1, refreshes! + 1]);
    expect(await bearerOf(clients)).toBe(bearer);
    expect(counts()).toEqual([logins! + 1, refreshes! + 1]);
  });

  it.each(BOTH)('are renewed by the next request where one was lost %s it was done', async (drop) => {
    await old();
    const [logins, refreshes] = counts();
    world.langflow.next('POST', REFRESH, { drop });
    expect(await failureOf(bearerOf(clients))).toMatchObject(UNAVAILABLE);
    expect(await works(await bearerOf(clients))).toBe(true);
    expect(counts()).toEqual([logins, refreshes! + 2]);
  });

  it.each(BOTH)('come of the next login where one was lost %s it was done', async (drop) => {
    await old(60);
    world.langflow.next('POST', LOGIN, { drop });
    expect(await failureOf(bearerOf(clients))).toMatchObject(UNAVAILABLE);
    expect(await works(await bearerOf(clients))).toBe(true);
  });

  it('are good enough for their last half minute where no others can be had', async () => {
    world.langflow.set({ accessTokenS: 30 });
    await accountOf(clients);
    world.langflow.set({ accessTokenS: 3_600 });
    world.langflow.next('POST', REFRESH, { drop: 'before' });
    expect(await works(await bearerOf(clients))).toBe(true);
    world.langflow.next('POST', REFRESH, { drop: 'before' });
    expect(await failureOf(clients.langflow.refreshTokens({}))).toMatchObject(UNAVAILABLE);
    const [logins, refreshes] = counts();
    await bearerOf(clients);
    expect(counts()).toEqual([logins, refreshes! + 1]);
  });

  it('are renewed on demand', async () => {
    await accountOf(clients);
    const first = await bearerOf(clients);
    const [logins, refreshes] = counts();
    // Two of one second would be the same.
    ahead += 1;
    await clients.langflow.refreshTokens({});
    const second = await bearerOf(clients);
    expect(second).not.toBe(first);
    expect(await works(second)).toBe(true);
    expect(counts()).toEqual([logins, refreshes! + 1]);
  });

  it('are not asked for while Langflow takes no logins', async () => {
    await old(60);
    const answer = { status: 429, headers: { 'retry-after': '30' }, body: { detail: 'Too many login attempts.' } };
    world.langflow.next('POST', LOGIN, { answer });
    const limited = { reason: 'PROVIDER_RATE_LIMITED', metadata: { provider_error: 'too_many_requests' } };
    expect(await failureOf(bearerOf(clients))).toMatchObject({ ...limited, retryAfterMs: 30_000 });
    const [logins] = counts();
    expect(await failureOf(bearerOf(clients))).toMatchObject(limited);
    expect(await failureOf(clients.langflow.refreshTokens({}))).toMatchObject(limited);
    expect(counts()[0]).toBe(logins);
    await clients.langflow.listFlows({});
    // Another replica was not told.
    expect(await works(await bearerOf(await world.as({ replica: 1 })))).toBe(true);
  });
});

describe('What is kept of an account', () => {
  it('is sealed wherever it lies, in no log line, and opens after the master key was changed', async () => {
    await using world = await AccountWorld.start();
    world.newTenant();
    const clients = await world.as();
    const { username } = await accountOf(clients);
    const bearer = await bearerOf(clients);
    const { apiKey } = await clients.langflow.getApiKey({});
    const { password } = world.langflow.users.get(username)!;
    const refreshToken = /refresh_token_lf=([^;]+)/;
    await clients.langflow.refreshTokens({});
    const cookie = world.langflow.hits.findLast(({ path }) => REFRESH.test(path))!.headers.cookie!;
    const secrets = [password, apiKey, bearer.slice('Bearer '.length), refreshToken.exec(cookie)![1]!];
    const adminKey = world.langflow.adminKey;
    const dump = await everything(world);
    expect(dump).toContain(username);
    for (const secret of [...secrets, adminKey]) {
      expect(secret.length).toBeGreaterThan(20);
      for (const spelling of [secret, Buffer.from(secret).toString('hex'), Buffer.from(secret).toString('base64')])
        expect(dump).not.toContain(spelling);
      expect(world.servers[0]!.logLines.join('\n')).not.toContain(secret);
    }

    const [sealedBefore] = await sealed(world);
    await world.servers.pop()!.stop();
    await rotateMasterKey(world);
    expect((await sealed(world))[0]).not.toEqual(sealedBefore);
    await world.startReplica();
    const again = await world.as();
    await world.forgetChecks();
    expect(await accountOf(again)).toMatchObject({ username });
    expect(await again.langflow.getApiKey({})).toMatchObject({ apiKey });
    expect(world.langflow.count('POST', LOGIN)).toBe(1);
    world.langflow.removeKeys(world.langflow.users.get(username)!);
    await again.langflow.listFlows({});
    expect(world.langflow.users.get(username)!.password).toBe(password);
  });

  /** Every row of every table. */
  async function everything({ database }: AccountWorld): Promise<string> {
    const tables = await database.sql<{ name: string }>(
      `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
        where table_schema in ('latchkey', 'graphile_worker') and table_type = 'BASE TABLE'`,
    );
    expect(tables.length).toBeGreaterThan(10);
    const rows = await Promise.all(
      tables.map(({ name }) => database.sql<{ row: string }>(`select t::text as row from ${name} t`)),
    );
    return rows
      .flat()
      .map(({ row }) => row)
      .join('\n');
  }

  async function sealed({ database }: AccountWorld): Promise<Buffer[]> {
    const rows = await database.sql<{ sealed: Buffer }>('select sealed from latchkey.provider_account');
    return rows.map((row) => row.sealed);
  }

  async function rotateMasterKey(world: AccountWorld): Promise<void> {
    const current = newMasterKey();
    const bytes = (key: string) => Buffer.from(key, 'base64');
    const masterKeys = new MasterKeys(bytes(current), bytes(world.masterKey));
    const orm = await openOrm(world.database.url, 4);
    const pool = await poolOf(orm);
    const { id, secret } = await openInstallation(pool, masterKeys);
    const keyring = new Keyring(masterKeys, dataKeyStore(pool), id, 1_000);
    // No replica lives that would have to be waited for.
    const report = await rotateKeys({
      ...{ orm, pool, masterKeys, keyring, auditKeys: auditKeysOf(secret) },
      progress: () => {},
      pause: async () => {},
    });
    await orm.close();
    expect(report.broken).toEqual([]);
    world.masterKey = current;
  }
});

describe('Tenants with a Langflow of their own', () => {
  it('have their accounts there and nowhere else', async () => {
    await using world = await AccountWorld.start({ env: { LANGFLOW_TENANT_INSTANCES: 'true' } });
    await using own = await startLangflow({ version: '1.11', switches: { loginsPerMinute: null } });
    await using others = await startLangflow({ version: '1.6' });
    const tenants = ['own', 'other', 'without'] as const;
    const admin = (tenant: string) => world.as({ tenant, role: 'admin', subject: 'root' });
    const integrations = new Map([
      ['own', await setUpLangflow(await admin('own'), own)],
      ['other', await setUpLangflow(await admin('other'), others)],
    ]);
    const flows: string[] = [];
    for (const [tenant, langflow] of [
      ['own', own],
      ['other', others],
      ['without', world.langflow],
    ] as const) {
      const clients = await world.as({ tenant });
      const account = await accountOf(clients);
      expect(account).toMatchObject({ baseUrl: langflow.url, status: AccountStatus.ACTIVE });
      expect(account.integrationId).toBe(integrations.get(tenant) ?? '');
      expect([...langflow.users.keys()].filter((name) => name.startsWith('latchkey-'))).toEqual([account.username]);
      const { flow } = await clients.langflow.createFlow({ name: tenant });
      flows.push(flow!.id);
      expect((await clients.langflow.runFlow({ run: { flowId: flow!.id, inputValue: tenant } })).text).toBe(tenant);
      const { health } = await clients.langflow.checkHealth({});
      expect(health).toMatchObject({ status: HealthStatus.SERVING });
      const { version } = await (await fetch(`${langflow.url}/api/v1/version`)).json();
      expect(health!.version).toBe(version);
    }
    expect(new Set(flows).size).toBe(tenants.length);
    // Another tenant's admin key is sent nowhere but to that tenant's Langflow.
    for (const langflow of [own, others, world.langflow]) {
      const keys = langflow.hits.map(({ headers }) => headers['x-api-key']);
      const foreign = [own, others, world.langflow].filter((other) => other !== langflow);
      for (const { adminKey } of foreign) expect(keys).not.toContain(adminKey);
    }
  });

  it('are told what is not set up', async () => {
    const database = await createTestDatabase();
    await using own = await startLangflow({ version: '1.13', switches: { loginsPerMinute: null } });
    const server = await TestServer.start({ database, env: { LANGFLOW_TENANT_INSTANCES: 'true', SANDBOX: 'off' } });
    const admin = await server.as('admin', { tenant: 'own' });
    const clients = await server.as('requestor', { tenant: 'own' });
    const refused = async () => {
      const failures = [
        await failureOf(accountOf(clients)),
        await failureOf(clients.langflow.listFlows({})),
        await failureOf(bearerOf(clients)),
        await failureOf(clients.langflow.getApiKey({})),
      ];
      for (const { metadata } of failures) delete metadata.request_id;
      expect(failures).toEqual(failures.map(() => failures[0]));
      return failures[0]!;
    };
    const misconfigured = (metadata: Record<string, string>) => ({ reason: 'INTEGRATION_MISCONFIGURED', metadata });
    expect(await refused()).toMatchObject(misconfigured({ provider_error: 'no_instance' }));
    expect((await clients.langflow.checkHealth({})).health).toMatchObject({ status: HealthStatus.UNKNOWN });
    const { integration } = await admin.integrations.createIntegration({
      provider: 'langflow',
      settings: { base_url: own.url },
    });
    const integrationId = integration!.id;
    expect(await refused()).toMatchObject(
      misconfigured({ provider_error: 'admin_key_missing', integration_id: integrationId }),
    );
    expect((await clients.langflow.checkHealth({})).health).toMatchObject({ status: HealthStatus.SERVING });
    await admin.integrations.setIntegrationCredentials({ integrationId, clientSecrets: ['not-its-key'] });
    own.set({ enableSignUp: false });
    expect(await refused()).toMatchObject(
      misconfigured({ provider_error: 'admin_key_refused', integration_id: integrationId }),
    );
    await admin.integrations.setIntegrationCredentials({ integrationId, clientSecrets: [own.adminKey] });
    expect(await accountOf(clients)).toMatchObject({ status: AccountStatus.ACTIVE, integrationId });
    await admin.integrations.disableIntegration({ integrationId });
    expect(await refused()).toMatchObject({
      reason: 'INTEGRATION_DISABLED',
      metadata: { integration_id: integrationId },
    });
    await admin.integrations.enableIntegration({ integrationId });
    expect(await accountOf(clients)).toMatchObject({ status: AccountStatus.ACTIVE, integrationId });
    await server.stop();
    await database.drop();
  });

  it('cannot have it at an address that may not be reached; the operator can', async () => {
    await using world = await AccountWorld.start({
      env: { LANGFLOW_TENANT_INSTANCES: 'true', EGRESS_ALLOW: 'example.com' },
    });
    await using own = await startLangflow({ version: '1.13' });
    expect(await accountOf(await world.as({ tenant: 'without' }))).toMatchObject({ status: AccountStatus.ACTIVE });
    const forbidden = { reason: 'ADDRESS_FORBIDDEN', code: 'PermissionDenied', metadata: { host: '127.0.0.1' } };
    const admin = await world.as({ tenant: 'own', role: 'admin', subject: 'root' });
    const { port } = new URL(own.url);
    for (const url of [own.url, world.langflow.url, `http://localhost:${port}`]) {
      await setUpLangflow(admin, { url, adminKey: own.adminKey });
      const clients = await world.as({ tenant: 'own' });
      const host = new URL(url).hostname;
      expect(await failureOf(accountOf(clients))).toMatchObject({ ...forbidden, metadata: { host } });
      const { health } = await clients.langflow.checkHealth({});
      expect(health).toMatchObject({ status: HealthStatus.DOWN, message: 'Its address may not be reached from here.' });
    }
    expect(own.hits).toEqual([]);
    expect([...world.langflow.users.keys()]).toHaveLength(2);
  });
});

describe('A Latchkey without Langflow', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await TestServer.start({ env: { SANDBOX: 'off' } });
  });
  afterAll(() => server.stop());

  it.each(TRANSPORTS)('has no LangflowService over %s', async (transport) => {
    const clients = await server.as('requestor', { tenant: 'a', transport });
    for (const call of [clients.langflow.listFlows({}), clients.langflow.checkHealth({})])
      expect(await failureOf(call)).toMatchObject({ code: 'Unimplemented' });
    expect(await failureOf(accountOf(clients))).toMatchObject({
      reason: 'INTEGRATION_MISCONFIGURED',
      metadata: { provider_error: 'no_instance' },
    });
  });

  it('does not list it', async () => {
    const names = await reflectedServices(server.replica.grpcPort);
    expect(names).toContain('latchkey.v1.ConnectionService');
    expect(names).not.toContain('latchkey.v1.LangflowService');
  });

  it('lists it where it is there', async () => {
    await using world = await AccountWorld.start();
    expect(await reflectedServices(world.servers[0]!.replica.grpcPort)).toContain('latchkey.v1.LangflowService');
  });
});

/** What `list_services` of the reflection answers, read by its spelling. */
async function reflectedServices(grpcPort: number): Promise<string[]> {
  const client = new Client(`127.0.0.1:${grpcPort}`, credentials.createInsecure());
  const asIs = (bytes: Buffer) => bytes;
  const method = '/grpc.reflection.v1.ServerReflection/ServerReflectionInfo';
  const call = client.makeBidiStreamRequest(method, asIs, asIs);
  // list_services is field 7 of the request.
  call.write(Buffer.from([0x3a, 1, 0x2a]));
  const answer: Buffer = await new Promise((done, fail) => call.once('data', done).once('error', fail));
  call.end();
  client.close();
  return answer.toString('latin1').match(/[a-z]\w*(\.\w+)+/g) ?? [];
}
