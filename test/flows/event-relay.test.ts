import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { bearer } from '../harness/credentials.ts';
import { createTestDatabase } from '../harness/database.ts';
import { ServerProcess } from '../harness/process.ts';
import { Recorder } from '../harness/recorder.ts';
import { operatorAt } from '../harness/replicas.ts';
import { type Clients, newMasterKey, TestServer, testEnv } from '../harness/server.ts';

/** The brokers are never dialled: a recorder takes what would go there. test/real/kafka.sh is about a real one. */
const KAFKA = { KAFKA_BROKERS: 'broker.test:9092', KAFKA_TOPIC_EVENTS: 'other-events' };
const WITHIN = { timeout: 10_000, interval: 20 };

const newConnection = async ({ connections }: Clients, name: string) =>
  (await connections.createConnection({ name, credential: bearer('t'), providerAccountId: 'acct' })).connection!.id;

describe('The relay', () => {
  const recorder = new Recorder();
  let server: TestServer;
  let admin: Clients;
  beforeAll(async () => {
    server = await TestServer.start({ env: { ...KAFKA, PUBLIC_URL: 'https://keys.example' }, eventSink: recorder });
    admin = await server.as('admin', { tenant: 'relayed' });
  });
  afterAll(() => server.stop());
  afterEach(() => recorder.away(false));

  it('says what becomes of tokens, in the form of the token manager', async () => {
    const { connection } = await admin.connections.createConnection({
      ...{
        name: 'c',
        provider: 'stripe',
        baseUrl: 'https://api.stripe.com',
        providerAccountId: 'acct_1',
        credential: bearer('sk_live_verysecret'),
      },
    });
    const id = connection!.id;
    await admin.connections.disableConnection({ connectionId: id });
    await admin.connections.updateConnection({ connectionId: id, credential: bearer('sk_live_another') });
    await admin.connections.revokeConnection({ connectionId: id });
    await admin.connections.deleteConnection({ connectionId: id });
    await expect.poll(() => recorder.values(`${id}-stripe`).length, WITHIN).toBe(3);
    const own = recorder.messages.filter(({ key }) => key === `${id}-stripe`);
    expect(own.map(({ topic }) => topic)).toEqual(Array(3).fill('token-events'));
    const values = own.map(({ value }) => JSON.parse(value));
    expect(values.map(({ eventType }) => eventType)).toEqual(['TOKEN_CREATED', 'TOKEN_CREATED', 'TOKEN_REVOKED']);
    expect(values[0]).toEqual({
      eventId: expect.stringMatching(/^evt_/),
      ...{ eventType: 'TOKEN_CREATED', tokenReferenceId: id, serviceType: 'stripe', accountId: 'acct_1' },
      timestamp: expect.any(Number),
    });
    await expect
      .poll(
        () =>
          recorder
            .values(id)
            .filter(({ tenantId }) => tenantId)
            .map(({ eventType }) => eventType),
        WITHIN,
      )
      .toEqual(['connection.disabled', 'connection.deleted']);
    expect(JSON.stringify(recorder.messages)).not.toContain('verysecret');
  });

  it('says which integrations are enabled and disabled, with the full URLs of what to call', async () => {
    const { integration } = await admin.integrations.createIntegration({
      ...{
        provider: 'google',
        appGroup: 'Google Workspace',
        appGroupId: 'g1',
        apps: ['drive'],
        syncAction: 'immediate',
      },
    });
    await admin.integrations.disableIntegration({ integrationId: integration!.id });
    await admin.integrations.enableIntegration({ integrationId: integration!.id });
    await expect.poll(() => recorder.values('appEnabled').length, WITHIN).toBe(1);
    const [disabled, enabled] = recorder.messages.filter(({ topic }) => topic === 'entity-events');
    expect(disabled).toMatchObject({ key: 'appDisabled', headers: { eventType: 'appDisabled' } });
    const about = { orgId: 'relayed', appGroup: 'Google Workspace', appGroupId: 'g1' };
    const timestamp = expect.any(Number);
    expect(JSON.parse(disabled!.value)).toEqual({
      ...{ eventType: 'appDisabled', timestamp, payload: { ...about, apps: ['drive'] } },
    });
    expect(enabled).toMatchObject({ key: 'appEnabled', headers: { eventType: 'appEnabled' } });
    expect(JSON.parse(enabled!.value)).toEqual({
      ...{ eventType: 'appEnabled', timestamp },
      payload: {
        ...about,
        credentialsRoute: 'https://keys.example/latchkey.v1.IntegrationService/DownloadIntegrationCredentials',
        refreshTokenRoute: 'https://keys.example/latchkey.v1.ConnectionService/RefreshConnection',
        ...{ apps: ['drive'], syncAction: 'immediate' },
      },
    });
  });

  it('keeps what happens while the broker is away, and nobody else notices', async () => {
    recorder.away(true);
    const ids: string[] = [];
    for (let i = 0; i < 10; i++) ids.push(await newConnection(admin, `away ${i}`));
    for (const connectionId of ids) await admin.connections.revokeConnection({ connectionId });
    const ready = async () => (await fetch(`${server.httpUrl}/readyz`)).json();
    await expect
      .poll(async () => (await ready()).dependencies, WITHIN)
      .toContainEqual({
        ...{ name: 'kafka', status: 'degraded', since: expect.any(String) },
      });
    expect((await ready()).ready).toBe(true);
    const lag = async () =>
      Number(/^latchkey_outbox_lag_events (\d+)$/m.exec(await (await fetch(`${server.httpUrl}/metrics`)).text())?.[1]);
    await expect.poll(lag, WITHIN).toBe(20);
    recorder.away(false);
    for (const id of ids)
      await expect
        .poll(() => recorder.values(id).map(({ eventType }) => eventType), WITHIN)
        .toEqual(['TOKEN_CREATED', 'TOKEN_REVOKED']);
    await expect
      .poll(async () => (await ready()).dependencies, WITHIN)
      .toContainEqual({
        ...{ name: 'kafka', status: 'up', since: expect.any(String) },
      });
  });
});

describe('Relays of two replicas', () => {
  it('hand over when one dies: nothing is lost, order is kept, and what comes twice has the same id', async () => {
    const [recorder, database] = [new Recorder(), await createTestDatabase()];
    const env = {
      ...testEnv(database, newMasterKey(), KAFKA),
      ...{ RECORDER_URL: await recorder.listen(), SANDBOX: 'off', LOG_LEVEL: 'error' },
    };
    const start = () => ServerProcess.ready(env, 'test/harness/recorded-replica.ts');
    const expected = new Map<string, string[]>();
    const changes = async ({ connections }: Clients, connectionId: string) => {
      for (let round = 0; round < 10; round++) {
        await connections.disableConnection({ connectionId });
        await connections.enableConnection({ connectionId });
        expected.get(connectionId)!.push('connection.disabled', 'connection.enabled');
      }
    };
    let relaying = await start();
    try {
      for (let i = 0; i < 10; i++) expected.set(await newConnection(operatorAt(relaying), `c${i}`), []);
      const ids = [...expected.keys()];
      for (let kill = 0; kill < 2; kill++) {
        const next = await start();
        const before = recorder.messages.length;
        const writing = Promise.all(ids.map((id) => changes(operatorAt(next), id)));
        await expect.poll(() => recorder.messages.length, WITHIN).toBeGreaterThan(before + 20);
        await relaying.stop('SIGKILL');
        await writing;
        relaying = next;
      }
      const eventsOf = (id: string) => recorder.values(id).filter(({ aggregateId }) => aggregateId === id);
      for (const id of ids) {
        const distinct = () => [...new Map(eventsOf(id).map((event) => [event.eventId, event])).values()];
        await expect
          .poll(() => distinct().map(({ eventType }) => eventType), { timeout: 30_000, interval: 50 })
          .toEqual(expected.get(id));
        const versions = distinct().map(({ generation }) => Number(generation));
        expect(versions).toEqual(versions.toSorted((a, b) => a - b));
      }
    } finally {
      await relaying.stop('SIGKILL');
      recorder.stop();
      await database.drop();
    }
  }, 120_000);

  it('share the lanes: one that joins has its part of them soon, and gives it back when it leaves', async () => {
    const [recorder, database] = [new Recorder(), await createTestDatabase()];
    const env = {
      ...testEnv(database, newMasterKey(), KAFKA),
      ...{ RECORDER_URL: await recorder.listen(), SANDBOX: 'off', LOG_LEVEL: 'error' },
    };
    const start = () => ServerProcess.ready(env, 'test/harness/recorded-replica.ts');
    const relayedBy = async ({ httpPort }: ServerProcess) => {
      const metrics = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
      return Number(/^latchkey_outbox_relayed_events_total (\d+)$/m.exec(metrics)?.[1]);
    };
    const first = await start();
    const running = [first];
    try {
      let made = 0;
      // Each in one lane or another.
      const make = async (count: number) => {
        for (let i = 0; i < count; i++) await newConnection(operatorAt(first), `c${made++}`);
      };
      const created = () => recorder.messages.filter(({ value }) => value.includes('TOKEN_CREATED')).length;
      await make(5);
      await expect.poll(created, WITHIN).toBe(5);
      const second = await start();
      running.push(second);
      await expect
        .poll(
          async () => {
            await make(5);
            return relayedBy(second);
          },
          { timeout: 20_000, interval: 200 },
        )
        .toBeGreaterThan(0);
      await expect.poll(created, WITHIN).toBe(made);
      const [before, already] = [await relayedBy(first), await relayedBy(second)];
      await make(40);
      await expect.poll(created, WITHIN).toBe(made);
      expect(await relayedBy(first)).toBeGreaterThan(before);
      expect(await relayedBy(second)).toBeGreaterThan(already);
      await second.stop();
      await make(40);
      await expect.poll(created, WITHIN).toBe(made);
    } finally {
      await Promise.all(running.map((replica) => replica.stop('SIGKILL')));
      recorder.stop();
      await database.drop();
    }
  }, 120_000);
});
