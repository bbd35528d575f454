import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { DeliveryStatus } from '../../gen/latchkey/v1/delivery_pb.ts';
import { WebhookMode } from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { AccountWorld, accountOf } from '../harness/accounts.ts';
import { authorizeAt, connect, setUp } from '../harness/authorizations.ts';
import { Browser } from '../harness/browser.ts';
import { bearer } from '../harness/credentials.ts';
import { failureOf } from '../harness/errors.ts';
import { sendMessage, signedHeaders, signingSecret } from '../harness/inbound.ts';
import { operatorAt, Replicas } from '../harness/replicas.ts';
import { ScriptedProvider } from '../harness/scripted-provider.ts';
import type { Clients } from '../harness/server.ts';
import { startWebhookReceiver } from '../harness/webhook-receiver.ts';

const SOON = { timeout: 15_000, interval: 25 };

describe('A user who is deleted', () => {
  let world: AccountWorld;
  let provider: ScriptedProvider;
  let admin: Clients;
  let ada: Clients;
  let bob: Clients;
  let userId: string;

  beforeAll(async () => {
    [world, provider] = await Promise.all([AccountWorld.start(), ScriptedProvider.start()]);
  });
  afterAll(async () => {
    await world[Symbol.asyncDispose]();
    await provider.stop();
  });
  beforeEach(async () => {
    provider.reset();
    provider.answers('/me', ({ headers }) => ({ body: { sub: headers.authorization } }));
    world.newTenant();
    [admin, ada, bob] = await Promise.all([
      world.as({ role: 'admin', subject: 'admin' }),
      world.as({ subject: 'ada' }),
      world.as({ subject: 'bob' }),
    ]);
    userId = (await ada.access.getMe({})).user!.id;
  });

  const rows = async (table: string, column = 'owner_user_id') =>
    (
      await world.database.sql(`select * from latchkey.${table} where tenant_id = $1 and ${column} = $2`, [
        ...[world.tenant, userId],
      ])
    ).length;
  const userIsGone = () => expect.poll(() => rows('app_user', 'id'), SOON).toBe(0);
  const actions = async () => {
    const { entries } = await admin.audit.listAuditEntries({ pageSize: 100 });
    return entries.map(({ action }) => action);
  };

  it('leaves nothing of their own: at providers, at Langflow, here; and what is not theirs stays', async () => {
    await using receiver = await startWebhookReceiver(() => ({ status: 503 }));
    const integrationId = await setUp(admin, provider.definition('scripted'));
    const own = await authorizeAt(ada, integrationId, 'of ada');
    const others = await authorizeAt(bob, integrationId, 'of bob');
    const account = await accountOf(ada);
    const bobsAccount = await accountOf(bob);
    const secret = signingSecret();
    const { endpoint } = await ada.webhooks.createInboundEndpoint({
      ...{ name: 'of ada', connectionId: own.connectionId, signingSecrets: { secrets: [secret] } },
      verification: { scheme: 1 },
    });
    const message = () =>
      sendMessage(world.servers[0]!.replica.httpPort, endpoint!.id, signedHeaders(secret, 'm', '{}'), '{}');
    expect((await message()).status).toBe(202);
    const { connection: plain } = await ada.connections.createConnection({
      ...{ name: 'plain', baseUrl: receiver.url, credential: bearer('t') },
    });
    const request = { path: '/', mode: WebhookMode.FIRE_AND_FORGET, attempts: 10, backoffMs: 60_000 };
    const { delivery } = await ada.webhooks.sendWebhook({ ...request, connectionId: plain!.id });
    const read = await ada.connections.getCredentials({ connectionId: own.connectionId });
    expect(read.headers).toHaveLength(1);

    await admin.access.deleteUser({ userId });
    await userIsGone();
    for (const table of ['connection', 'provider_account', 'inbound_endpoint', 'delivery'])
      expect(await rows(table), table).toBe(0);
    await expect.poll(async () => provider.count('/revoke'), SOON).toBe(1);
    expect(provider.to('/revoke')[0]!.body.token).toMatch(/^rt-/);
    await expect.poll(() => rows('inbound_message', `'${userId}' = $2 and endpoint_id`), SOON).toBe(0);
    expect((await message()).status).toBe(404);
    expect(world.langflow.users.has(account.username)).toBe(false);
    expect(world.langflow.users.has(bobsAccount.username)).toBe(true);
    for (const gone of [
      () => admin.connections.getConnection({ connectionId: own.connectionId }),
      () => admin.webhooks.getDelivery({ deliveryId: delivery!.id }),
      () => admin.webhooks.getInboundEndpoint({ endpointId: endpoint!.id }),
    ])
      expect((await failureOf(gone())).code).toBe('NotFound');
    await bob.connections.getCredentials({ connectionId: others.connectionId });
    await bob.langflow.listFlows({});
    // The log stays, and names them.
    const { entries } = await admin.audit.listAuditEntries({ resourceId: userId });
    expect(entries.map(({ action }) => action)).toEqual(expect.arrayContaining(['user_deleted', 'user_removed']));
    expect(await actions()).toEqual(expect.arrayContaining(['connection_deleted', 'grant_revoked', 'account_deleted']));
    expect((await admin.events.listEvents({ filter: { types: ['user.deleted'] } })).events).toHaveLength(1);
  });

  it('comes back as somebody else, with nothing of what was, while that still goes', async () => {
    const integrationId = await setUp(admin, provider.definition('scripted'));
    const own = await authorizeAt(ada, integrationId, 'of ada');
    let release = () => {};
    provider.answers('/revoke', { until: new Promise<void>((done) => (release = done)) });
    await admin.access.deleteUser({ userId });
    const { user } = await ada.access.getMe({});
    expect(user!.id).not.toBe(userId);
    expect((await failureOf(ada.connections.getConnection({ connectionId: own.connectionId }))).reason).toBe(
      'CONNECTION_NOT_FOUND',
    );
    expect((await ada.connections.listConnections({})).connections).toEqual([]);
    expect((await ada.webhooks.listDeliveries({})).deliveries).toEqual([]);
    // Under the same name, too, once the other is gone.
    await userIsGone();
    release();
    await ada.connections.createConnection({ name: 'of ada', credential: bearer('t') });
    await bob.access.getMe({});
    expect((await admin.access.listUsers({})).users.filter(({ subject }) => subject === 'ada')).toHaveLength(1);
  });

  it('cannot come back from a provider with a grant that was begun before', async () => {
    const integrationId = await setUp(admin, provider.definition('scripted'));
    const own = await connect(ada, integrationId, 'of ada');
    const { connection: shared } = await admin.connections.createConnection({
      ...{ name: 'shared', credential: bearer('t') },
    });
    await admin.access.updateUserRoles({ userId, roles: ['resource_manager'] });
    const opened = await new Browser().goto(own.url, { stopAt: 'http://localhost' });
    const started = await ada.connections.startAuthorization({
      ...{ integrationId, target: { case: 'connectionId', value: shared!.id } },
    });
    const browser = new Browser();
    const callback = await browser.goto(started.authorizationUrl, {
      stopAt: `http://localhost:${world.servers[0]!.replica.httpPort}/oauth/callback`,
    });
    await admin.access.deleteUser({ userId });
    expect((await browser.goto(callback.url)).status).toBe(400);
    expect((await new Browser().goto(opened.url)).status).toBe(400);
    expect(provider.count('/token')).toBe(0);
    await userIsGone();
    expect((await admin.connections.getCredentials({ connectionId: shared!.id })).headers[0]!.value).toBe('Bearer t');
  });

  it('whose account Langflow does not delete now is gone here once it does', async () => {
    const { username } = await accountOf(ada);
    world.langflow.set({ down: true });
    await admin.access.deleteUser({ userId });
    await expect.poll(() => rows('connection'), SOON).toBe(0);
    await expect.poll(async () => (await world.rows())[0]?.status, SOON).toBe('DELETING');
    expect((await admin.access.listUsers({})).users.map(({ id }) => id)).not.toContain(userId);
    world.langflow.set({ down: false });
    await expect
      .poll(async () => {
        await world.runJobsNow();
        return rows('app_user', 'id');
      }, SOON)
      .toBe(0);
    expect(world.langflow.users.has(username)).toBe(false);
    expect(await world.rows()).toEqual([]);
  });

  it('whose account can never be deleted there is gone here after a day', async () => {
    await accountOf(ada);
    world.langflow.set({ down: true });
    try {
      await admin.access.deleteUser({ userId });
      await expect.poll(async () => (await world.rows())[0]?.status, SOON).toBe('DELETING');
      await world.database.sql(
        `update latchkey.provider_account set update_time = update_time - interval '25 hours' where tenant_id = $1`,
        [world.tenant],
      );
      await expect
        .poll(async () => {
          await world.runJobsNow();
          return rows('app_user', 'id');
        }, SOON)
        .toBe(0);
      const { entries } = await admin.audit.listAuditEntries({ action: 'account_deleted' });
      expect(entries[0]!.after).toMatchObject({ removed_at_provider: false });
    } finally {
      world.langflow.set({ down: false });
    }
  });

  it('sends nothing that waited', async () => {
    let failing = true;
    await using receiver = await startWebhookReceiver(() => ({ status: failing ? 503 : 204 }));
    const { delivery } = await ada.webhooks.sendWebhook({
      ...{ url: receiver.url, mode: WebhookMode.FIRE_AND_FORGET, attempts: 10 },
      backoffMs: 2_000,
    });
    const bobs = await bob.webhooks.sendWebhook({
      ...{ url: receiver.url, mode: WebhookMode.FIRE_AND_FORGET, attempts: 10 },
      backoffMs: 2_000,
    });
    await expect.poll(() => receiver.received.length, SOON).toBeGreaterThanOrEqual(2);
    await admin.access.deleteUser({ userId });
    await userIsGone();
    failing = false;
    const settled = async () => (await bob.webhooks.getDelivery({ deliveryId: bobs.delivery!.id })).delivery!.status;
    await expect.poll(settled, SOON).toBe(DeliveryStatus.SUCCEEDED);
    expect((await failureOf(admin.webhooks.getDelivery({ deliveryId: delivery!.id }))).reason).toBe(
      'DELIVERY_NOT_FOUND',
    );
  });
});

describe('A user with hundreds of connections', () => {
  const CONNECTIONS = 200;

  it('goes whole, each connection once, although the replica at it is killed in the middle', async () => {
    const replicas = await Replicas.create();
    try {
      const first = await replicas.start();
      const clients = operatorAt(first);
      const { database } = replicas;
      const userId = 'user_01m8000000000000000000000z';
      await database.sql(
        `insert into latchkey.app_user (tenant_id, id, issuer, subject, email, display_name, assigned_roles, mapped_roles, create_time, last_seen_at)
         values ('default', $1, 'i', 'many', '', '', '{}', '{}', now(), now())`,
        [userId],
      );
      for (let n = 0; n < CONNECTIONS; n += 20)
        await Promise.all(
          Array.from({ length: 20 }, (_, k) =>
            clients.connections.createConnection({ name: `c${n + k}`, ownerUserId: userId, credential: bearer('t') }),
          ),
        );
      const left = async () => {
        const [row] = await database.sql<{ n: string }>(
          'select count(*) as n from latchkey.connection where owner_user_id = $1',
          [userId],
        );
        return Number(row!.n);
      };
      expect(await left()).toBe(CONNECTIONS);
      await clients.access.deleteUser({ userId });
      await expect.poll(left, { ...SOON, interval: 5 }).toBeLessThan(CONNECTIONS - 20);
      await first.stop('SIGKILL');
      expect(await left()).toBeGreaterThan(0);
      // In place of the time after which a replica counts as gone.
      await database.sql(`update latchkey.replica set heartbeat_time = now() - interval '1 hour'`);
      const second = await replicas.start();
      await expect
        .poll(async () => (await database.sql('select from latchkey.app_user where id = $1', [userId])).length, {
          timeout: 40_000,
        })
        .toBe(0);
      expect(await left()).toBe(0);
      const audited = await database.sql<{ n: string; ids: string }>(
        `select count(*) as n, count(distinct resource_id) as ids from latchkey.audit_entry where action = 'connection_deleted'`,
      );
      expect(audited).toEqual([{ n: String(CONNECTIONS), ids: String(CONNECTIONS) }]);
      expect((await failureOf(operatorAt(second).access.getUser({ userId }))).reason).toBe('USER_NOT_FOUND');
      await expect
        .poll(
          () => database.sql(`select from graphile_worker._private_jobs where payload ->> 'id' = $1`, [userId]),
          SOON,
        )
        .toEqual([]);
    } finally {
      await replicas.stop();
    }
  }, 90_000);
});
