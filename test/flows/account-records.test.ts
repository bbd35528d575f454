import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { AccountWorld, accountOf, setUpLangflow } from '../harness/accounts.ts';
import { failureOf } from '../harness/errors.ts';
import type { Clients } from '../harness/server.ts';
import { UserServiceServer } from '../harness/user-service.ts';

let service: UserServiceServer;
let world: AccountWorld;
let clients: Clients;
let subject = '';
let subjects = 0;

beforeAll(async () => {
  service = await UserServiceServer.start();
  const env = { USER_SERVICE_URL: service.url, USER_SERVICE_SECRET: service.secret, LANGFLOW_TENANT_INSTANCES: 'true' };
  world = await AccountWorld.start({ env });
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await service.stop();
});
beforeEach(async () => {
  service.reset();
  world.newTenant();
  subject = `ada-${++subjects}`;
  clients = await world.as({ subject });
});

const recordOf = (username: string, password: string, langflowUserId: string) => ({
  ...{ userId: subject, langflowUserId, username, password, apiKey: '' },
});

describe('An account', () => {
  it('is kept in the user-service, too, and emptied there when it is deleted', async () => {
    const account = await accountOf(clients);
    const user = world.langflow.users.get(account.username)!;
    const { apiKey } = await clients.langflow.getApiKey({});
    expect(service.records.get(subject)).toEqual({
      ...recordOf(account.username, user.password, user.id),
      apiKey,
    });
    const asked = service.requests.length;
    await accountOf(clients);
    expect(service.requests).toHaveLength(asked);
    await clients.integrations.deleteAccount({ accountId: account.id });
    expect(service.records.get(subject)).toEqual(recordOf('', '', ''));
  });

  it('that the user-service knows is taken over', async () => {
    const user = world.langflow.addUser(`known-${subject}`, 'a password that works');
    service.records.set(subject, recordOf(user.username, user.password, 'whatever it says'));
    const before = world.langflow.users.size;
    const account = await accountOf(clients);
    expect(account).toMatchObject({ username: user.username, providerAccountId: user.id });
    expect(world.langflow.users.size).toBe(before);
    const { apiKey } = await clients.langflow.getApiKey({});
    expect(await world.ownerOf(apiKey)).toBe(user.username);
    expect(service.records.get(subject)).toMatchObject({ langflowUserId: user.id, apiKey });
  });

  it('is not somebody else’s because a record says so', async () => {
    const victim = world.langflow.addUser(`victim-${subject}`, 'the victim’s own');
    service.records.set(subject, recordOf(victim.username, 'a guess', victim.id));
    const account = await accountOf(clients);
    expect(account.username).not.toBe(victim.username);
    expect(account.providerAccountId).not.toBe(victim.id);
    expect(victim.password).toBe('the victim’s own');
  });

  it('does not act by a key of somebody else’s that a record has', async () => {
    const [user, victim] = [`known-${subject}`, `victim-${subject}`].map((name) =>
      world.langflow.addUser(name, 'works'),
    );
    const apiKey = world.langflow.addKey(victim!);
    service.records.set(subject, { ...recordOf(user!.username, 'works', user!.id), apiKey });
    expect((await accountOf(clients)).username).toBe(user!.username);
    expect(await world.ownerOf((await clients.langflow.getApiKey({})).apiKey)).toBe(user!.username);
    expect(await world.ownerOf(apiKey)).toBe(victim!.username);
  });

  it('is of one tenant, though the user-service knows users alone', async () => {
    const account = await accountOf(clients);
    const kept = service.records.get(subject);
    world.newTenant();
    const elsewhere = await world.as({ subject });
    const other = await accountOf(elsewhere);
    expect(other.providerAccountId).not.toBe(account.providerAccountId);
    expect(service.records.get(subject)).toEqual(kept);
    await elsewhere.integrations.deleteAccount({ accountId: other.id });
    expect(service.records.get(subject)).toEqual(kept);
  });

  it('at an instance of the tenant’s own is none of the user-service’s business', async () => {
    const admin = await world.as({ role: 'admin', subject: 'root' });
    await setUpLangflow(admin, { url: `${world.langflow.url}/`, adminKey: world.langflow.adminKey });
    await accountOf(clients);
    expect(service.requests).toEqual([]);
  });

  it('waits for a user-service that is away, and is made once', async () => {
    service.down = { status: 503 };
    const before = world.langflow.users.size;
    expect(await failureOf(accountOf(clients))).toMatchObject({
      reason: 'USER_SERVICE_UNAVAILABLE',
      retryAfterMs: 5_000,
    });
    expect(world.langflow.users.size).toBe(before);
    service.down = null;
    const { username } = await accountOf(clients);
    expect(world.langflow.users.size).toBe(before + 1);
    expect(service.records.get(subject)).toMatchObject({ username });
  });
});
