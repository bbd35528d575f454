import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ConnectionStatus } from '../../gen/latchkey/v1/connection_pb.ts';
import { loadCredential } from '../../src/domain/connections/load-credential.ts';
import { refresh, refreshIfDue } from '../../src/domain/tokens/refresh.ts';
import { Housekeeper } from '../../src/jobs/housekeeper.ts';
import { callbackUris, connect, setUp } from '../harness/authorizations.ts';
import { Browser } from '../harness/browser.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { failureOf } from '../harness/errors.ts';
import { OAuthServer } from '../harness/oauth-server.ts';
import { type Clients, newMasterKey, TestServer } from '../harness/server.ts';

let database: TestDatabase;
let servers: TestServer[];
let oauth: OAuthServer;
let tenant = '';
let tenants = 0;
let clients: Clients[];
let connectionId: string;

const NAME = 'strict';

beforeAll(async () => {
  database = await createTestDatabase();
  const shared = { database, masterKey: newMasterKey(), env: { REFRESH_SWEEP_MS: '60000', PUBLIC_URL: '' } };
  servers = [await TestServer.start(shared), await TestServer.start(shared)];
  oauth = await OAuthServer.start({ redirectUris: servers.flatMap((server) => callbackUris(server, NAME)) });
});
afterAll(async () => {
  for (const server of servers) await server.stop();
  await oauth.stop();
  await database.drop();
});
beforeEach(async () => {
  tenant = `refresh-${++tenants}`;
  oauth.down.clear();
  oauth.forgetful = false;
  const operator = servers.map((server) => server.operator());
  await operator[0]!.access.createTenant({ tenantId: tenant, displayName: tenant });
  clients = [await servers[0]!.as('admin', { tenant }), await servers[1]!.as('admin', { tenant })];
  const integrationId = await setUp(clients[0]!, oauth.definition(NAME));
  const started = await connect(clients[0]!, integrationId, 'mine', { scopes: ['offline_access'] });
  connectionId = started.connectionId;
  const page = await new Browser().goto(started.url);
  expect(page.text).toContain('Your account is connected');
  oauth.requests.clear();
});

/** As if so much of the token's life had passed. */
async function age(leftS: number, lifetimeS = 600): Promise<void> {
  await database.sql(
    `update latchkey.credential set expire_time = now() + $2 * interval '1 s', lifetime_s = $3, refresh_due = now() where connection_id = $1`,
    [connectionId, leftS, lifetimeS],
  );
  for (const server of servers) server.replica.app.forget({ kind: 'connection', tenantId: tenant, id: connectionId });
}

const accessToken = async (who: Clients) => {
  const { headers, warning } = await who.connections.getCredentials({ connectionId });
  return { token: headers[0]!.value, warning };
};

describe('A token that has expired', () => {
  it('is renewed by one call to the provider for 1,000 callers', async () => {
    const before = await accessToken(clients[0]!);
    await age(-1);
    const all = await Promise.all(Array.from({ length: 1_000 }, () => accessToken(clients[0]!)));
    expect(new Set(all.map(({ token }) => token)).size).toBe(1);
    expect(all[0]!.token).not.toBe(before.token);
    expect(oauth.count('/token')).toBe(1);
  });

  it('is renewed by one call for callers of two replicas', async () => {
    for (let round = 0; round < 10; round++) {
      await age(-1);
      oauth.requests.clear();
      const all = await Promise.all(Array.from({ length: 200 }, (_, i) => accessToken(clients[i % 2]!)));
      expect(new Set(all.map(({ token }) => token)).size).toBe(1);
      expect(oauth.count('/token')).toBe(1);
    }
  });

  it('is waited for by callers also where the sweeper, which does not wait, has come upon it first', async () => {
    await age(-1);
    const { app } = servers[0]!.replica;
    const credential = await loadCredential(app, tenant, connectionId);
    const lease = (until: string) =>
      database.sql(
        `update latchkey.credential set lease_until = now() + $2::interval, attempt_id = 'att_other' where connection_id = $1`,
        [connectionId, until],
      );
    await lease('1 minute');
    const [swept, asked] = [refreshIfDue(app, credential!), refresh(app, credential!)];
    expect(await swept).toBeNull();
    expect(oauth.count('/token')).toBe(0);
    await lease('-1 second');
    expect(await asked).toEqual({ kind: 'moved', refreshed: true });
    expect(oauth.count('/token')).toBe(1);
  });

  it('is not renewed twice where two replicas have seen that it is due', async () => {
    await age(-1);
    const { app } = servers[0]!.replica;
    await accessToken(clients[1]!);
    const read = await loadCredential(app, tenant, connectionId);
    expect(await refreshIfDue(app, read!)).toBeNull();
    expect(oauth.count('/token')).toBe(1);
  });

  it('is renewed again and again, each time with the newest refresh token', async () => {
    const seen = new Set<string>();
    for (let i = 0; i < 5; i++) {
      await age(-1);
      seen.add((await accessToken(clients[i % 2]!)).token);
    }
    expect(seen.size).toBe(5);
    expect(oauth.count('/token')).toBe(5);
    const [row] = await database.sql<{ count: string }>(
      `select count(*) from latchkey.token_generation where connection_id = $1 and state = 'active'`,
      [connectionId],
    );
    expect(row!.count).toBe('1');
    const { entries } = await clients[0]!.audit.listAuditEntries({ pageSize: 100 });
    expect(entries.filter(({ action }) => action === 'connection_refreshed')).toHaveLength(5);
  });

  it('is not to be had while the provider does not answer, and the connection stays', async () => {
    await age(-1);
    oauth.down.add('/token');
    const failure = await failureOf(clients[0]!.connections.getCredentials({ connectionId }));
    expect(failure).toMatchObject({ code: 'Unavailable', reason: 'PROVIDER_UNAVAILABLE' });
    expect(failure.retryAfterMs).toBeGreaterThan(0);
    const hits = oauth.count('/token');
    await failureOf(clients[1]!.connections.getCredentials({ connectionId }));
    expect(oauth.count('/token')).toBe(hits);
    const status = await clients[0]!.connections.getConnectionStatus({ connectionId });
    expect(status).toMatchObject({ status: ConnectionStatus.REFRESH_FAILING, providerError: 'http_503' });
    expect(status.failingSince).toBeDefined();
    oauth.down.clear();
    const { refreshed } = await clients[0]!.connections.refreshConnection({ connectionId });
    expect(refreshed).toBe(true);
    expect((await clients[0]!.connections.getConnectionStatus({ connectionId })).status).toBe(ConnectionStatus.ACTIVE);
  });

  it('asks for a person where the grant is dead, and hits the provider once', async () => {
    oauth.forgetful = true;
    await age(-1);
    const all = await Promise.all(
      Array.from({ length: 50 }, (_, i) => failureOf(clients[i % 2]!.connections.getCredentials({ connectionId }))),
    );
    expect(new Set(all.map(({ reason }) => reason))).toEqual(new Set(['REAUTHORIZATION_REQUIRED']));
    expect(all[0]!.metadata.reconnect_url).toContain('/oauth/start?reconnect=');
    expect(oauth.count('/token')).toBe(1);
    const statusNow = async () => (await clients[1]!.connections.getConnection({ connectionId })).connection?.status;
    expect(await statusNow()).toBe(ConnectionStatus.REAUTHORIZATION_REQUIRED);
    const aMinuteGoesBy = `update graphile_worker._private_jobs set run_at = now() where payload ->> 'id' = $1`;
    await database.sql(aMinuteGoesBy, [connectionId]);
    await expect.poll(() => oauth.count('/token'), { timeout: 10_000 }).toBe(2);
    await expect
      .poll(() =>
        database.sql(`select 1 from graphile_worker._private_jobs where payload ->> 'id' = $1`, [connectionId]),
      )
      .toEqual([]);
    expect(await statusNow()).toBe(ConnectionStatus.REAUTHORIZATION_REQUIRED);
    expect(oauth.count('/token')).toBe(2);
  });

  it('comes back by itself where the provider was wrong about its grant, although it had failed before', async () => {
    oauth.down.add('/token');
    await age(-1);
    expect((await failureOf(clients[0]!.connections.getCredentials({ connectionId }))).reason).toBe(
      'PROVIDER_UNAVAILABLE',
    );
    oauth.down.clear();
    await database.sql('update latchkey.credential set refresh_not_before = null where connection_id = $1', [
      connectionId,
    ]);
    oauth.forgetful = true;
    expect((await failureOf(clients[0]!.connections.getCredentials({ connectionId }))).reason).toBe(
      'REAUTHORIZATION_REQUIRED',
    );
    oauth.forgetful = false;
    await database.sql(`update graphile_worker._private_jobs set run_at = now() where payload ->> 'id' = $1`, [
      connectionId,
    ]);
    await expect
      .poll(async () => (await clients[1]!.connections.getConnection({ connectionId })).connection?.status, {
        timeout: 10_000,
      })
      .toBe(ConnectionStatus.ACTIVE);
    expect((await accessToken(clients[1]!)).token).toMatch(/^Bearer /);
  });
});

describe('A token that still works', () => {
  it('is handed out at once and renewed behind', async () => {
    const before = await accessToken(clients[0]!);
    await age(100);
    expect((await accessToken(clients[0]!)).token).toBe(before.token);
    await expect.poll(async () => (await accessToken(clients[0]!)).token).not.toBe(before.token);
    expect(oauth.count('/token')).toBe(1);
  });

  it('is handed out with a warning where renewing it fails', async () => {
    const before = await accessToken(clients[0]!);
    await age(30);
    oauth.down.add('/token');
    expect(await accessToken(clients[0]!)).toEqual({ token: before.token, warning: 'PROVIDER_UNAVAILABLE' });
  });

  it('is renewed for who asks for more of its life, and refused where none lives so long', async () => {
    const before = await accessToken(clients[0]!);
    await age(400);
    const { headers } = await clients[0]!.connections.getCredentials({ connectionId, minValidFor: { seconds: 500n } });
    expect(headers[0]!.value).not.toBe(before.token);
    const failure = await failureOf(
      clients[0]!.connections.getCredentials({ connectionId, minValidFor: { seconds: 5_000n } }),
    );
    expect(failure.reason).toBe('TOKEN_LIFETIME_TOO_SHORT');
    expect(oauth.count('/token')).toBe(1);
  });

  it('is handed out anew by a replica that has not heard that another one renewed it', async () => {
    const minValidFor = { seconds: 500n };
    for (let round = 1; round <= 5; round++) {
      await age(400);
      await accessToken(clients[1]!);
      await database.sql(`select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and application_name = 'latchkey-listen'`);
      const [first, second] = [
        await clients[0]!.connections.getCredentials({ connectionId, minValidFor }),
        await clients[1]!.connections.getCredentials({ connectionId, minValidFor }),
      ];
      expect(second.headers[0]!.value).toBe(first.headers[0]!.value);
      expect(oauth.count('/token')).toBe(round);
    }
  });

  it('is not renewed by force within 30 s of the last time', async () => {
    const { refreshed } = await clients[0]!.connections.refreshConnection({ connectionId });
    expect(refreshed).toBe(false);
    expect(oauth.count('/token')).toBe(0);
    await age(500);
    expect((await clients[0]!.connections.refreshConnection({ connectionId })).refreshed).toBe(true);
    expect(oauth.count('/token')).toBe(1);
  });
});

describe('A grant that ends within a week', () => {
  it('is told of once, as a status and as an event', async () => {
    await database.sql(
      `update latchkey.credential set refresh_expire_time = now() + interval '6 days' where connection_id = $1`,
      [connectionId],
    );
    const housekeeper = new Housekeeper(servers[0]!.replica.app);
    await housekeeper.clean();
    await housekeeper.clean();
    const events = await database.sql(
      `select type from latchkey.outbox where aggregate_id = $1 and type = 'connection.expiring'`,
      [connectionId],
    );
    expect(events).toHaveLength(1);
    const status = await clients[0]!.connections.getConnectionStatus({ connectionId });
    expect(status.status).toBe(ConnectionStatus.EXPIRING);
    expect(status.refreshExpireTime).toBeDefined();
  });
});

describe('An attempt whose outcome nobody knows', () => {
  /** As if the replica that obtained the newest tokens had been late, and the one that held the lease then had died. */
  async function makeLate(before: { sealed: Buffer; fields: unknown; generation: number }): Promise<void> {
    await database.sql(`update latchkey.token_generation set state = 'candidate' where connection_id = $1`, [
      connectionId,
    ]);
    await database.sql(
      `update latchkey.credential set sealed = $2, fields = $3, generation = $4, lease_epoch = lease_epoch + 1, attempt_id = 'att_dead',
              lease_until = now() - interval '1 s' where connection_id = $1`,
      [connectionId, before.sealed, JSON.stringify(before.fields), before.generation],
    );
  }

  it('is followed by one with the token that the newest late answer brought, not with a spent one', async () => {
    await age(-1);
    await accessToken(clients[0]!);
    const [before] = await database.sql<{ sealed: Buffer; fields: unknown; generation: number }>(
      'select sealed, fields, generation from latchkey.credential where connection_id = $1',
      [connectionId],
    );
    await age(-1);
    const { token } = await accessToken(clients[0]!);
    await makeLate(before!);
    // An older answer came later still.
    await database.sql(
      `update latchkey.token_generation set create_time = now() + interval '1 s' where connection_id = $1 and generation = $2`,
      [connectionId, before!.generation],
    );
    await age(-1);
    oauth.requests.clear();
    expect((await accessToken(clients[1]!)).token).not.toBe(token);
    expect(oauth.count('/token')).toBe(1);
  });

  it('is due again also where nobody uses the connection', async () => {
    const due = async () =>
      (await database.sql<{ connection_id: string }>('select connection_id from latchkey.route_due_refreshes(1000)'))
        .map((row) => row.connection_id)
        .includes(connectionId);
    await age(500);
    await database.sql('update latchkey.connection set last_used_at = null where id = $1', [connectionId]);
    expect(await due()).toBe(false);
    oauth.down.add('/token');
    await database.sql(
      `update latchkey.credential set attempt_id = 'att_dead', lease_until = now() - interval '1 s' where connection_id = $1`,
      [connectionId],
    );
    await failureOf(clients[0]!.connections.refreshConnection({ connectionId }));
    await expect.poll(due, { timeout: 10_000 }).toBe(true);
  });
});
