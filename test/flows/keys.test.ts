import { Webhook } from 'standardwebhooks';
import { afterEach, describe, expect, it } from 'vitest';
import { bearer } from '../harness/credentials.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { type Exit, ServerProcess } from '../harness/process.ts';
import { ADMIN_KEY, clientsOf, newMasterKey, testEnv, transportTo } from '../harness/server.ts';
import { startWebhookReceiver } from '../harness/webhook-receiver.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function started(env: Record<string, string>): Promise<ServerProcess> {
  const server = await ServerProcess.ready(env);
  cleanups.push(() => server.stop('SIGKILL'));
  return server;
}

function keysCommand(env: Record<string, string>, ...args: string[]): Promise<Exit> {
  const tool = ServerProcess.command(env, 'keys', ...args);
  cleanups.push(() => tool.stop('SIGKILL'));
  return tool.exited;
}

const clientsTo = (server: ServerProcess) =>
  clientsOf(transportTo('grpc', server, { authorization: `Bearer ${ADMIN_KEY}` }));

async function masterKeyNames(database: TestDatabase): Promise<Set<string>> {
  const rows = await database.sql<{ name: string }>(
    'select master_key_name as name from latchkey.data_key union select master_key_name from latchkey.installation',
  );
  return new Set(rows.map((row) => row.name));
}

describe('A rotation of the master key', () => {
  it('goes on under load over replicas that learn the new key one by one, and ends the old key', async () => {
    const database = await createTestDatabase();
    cleanups.push(database.drop);
    const [old, current] = [newMasterKey(), newMasterKey()];
    const before = testEnv(database, old);
    const both = { ...testEnv(database, current), LATCHKEY_PREVIOUS_MASTER_KEY: old };
    let servers = [await started(before), await started(before)];
    const ids: string[] = [];
    for (let i = 0; i < 20; i++) {
      const { connection } = await clientsTo(servers[0]!).connections.createConnection({
        name: `c${i}`,
        credential: bearer(`t${i}`),
        webhookSignatureSecret: 'whsec',
      });
      ids.push(connection!.id);
    }
    const failures: unknown[] = [];
    let calls = 0;
    let loading = true;
    const load = async () => {
      for (let i = 0; loading; i++) {
        const clients = clientsTo(servers[i % servers.length]!);
        try {
          const connectionId = ids[i % ids.length]!;
          if (i % 5 === 0)
            await clients.connections.updateConnection({ connectionId, credential: bearer(`t${i % ids.length}`) });
          expect((await clients.connections.getCredentials({ connectionId })).headers[0]?.value).toBe(
            `Bearer t${i % ids.length}`,
          );
          calls += 1;
        } catch (error) {
          failures.push(error);
        }
      }
    };

    // One replica at a time is replaced by one that knows both keys.
    const running = load();
    const mixed = await started(both);
    const refusedEarly = ServerProcess.command(both, 'keys', 'rotate');
    await refusedEarly.says(/waiting for 2 replicas/);
    await refusedEarly.stop('SIGKILL');
    const [first, second] = servers;
    servers = [mixed, second!];
    await expect.poll(() => calls, { timeout: 10_000 }).toBeGreaterThan(20);
    servers = [mixed];
    const callsBefore = calls;
    await expect.poll(() => calls, { timeout: 10_000 }).toBeGreaterThan(callsBefore + 5);
    await Promise.all([first!.stop(), second!.stop()]);
    servers = [mixed, await started(both)];

    const rotation = await keysCommand(both, 'rotate');
    expect(rotation.output).toContain('is in force');
    expect(rotation.code).toBe(0);
    loading = false;
    await running;
    expect(failures).toEqual([]);
    expect(calls).toBeGreaterThan(50);

    const status = JSON.parse((await keysCommand(both, 'status', '--json')).output);
    expect(status).toMatchObject({ inForce: status.configured[0], tenants: 1 });
    expect(status.replicas).toHaveLength(2);
    expect(await masterKeyNames(database)).toEqual(new Set([status.inForce]));
    await Promise.all(servers.map((server) => server.stop()));

    const late = new ServerProcess(before);
    expect((await late.exited).output).toContain('The master key is not the one');
    const after = await started(testEnv(database, current));
    for (const [i, connectionId] of ids.entries()) {
      expect((await clientsTo(after).connections.getCredentials({ connectionId })).headers[0]?.value).toBe(
        `Bearer t${i}`,
      );
    }
  }, 120_000);

  it('seals what endpoints for events are signed and sent with anew, and what waits for them', async () => {
    const database = await createTestDatabase();
    cleanups.push(database.drop);
    const [old, current] = [newMasterKey(), newMasterKey()];
    const both = { ...testEnv(database, current), LATCHKEY_PREVIOUS_MASTER_KEY: old };
    let up = false;
    await using receiver = await startWebhookReceiver(() => ({ status: up ? 204 : 503 }));
    const first = await started(testEnv(database, old));
    const { webhooks, connections } = clientsTo(first);
    const headers = { headers: { authorization: 'Bearer ours' } };
    const eventTypes = { types: ['connection.*'] };
    const { endpoint, secret } = await webhooks.createEndpoint({ url: receiver.url, eventTypes, headers });
    const endpointId = endpoint!.id;
    const secrets = [secret, (await webhooks.rotateEndpointSecret({ endpointId })).secret];
    await connections.createConnection({ name: 'before', credential: bearer('t') });
    await expect.poll(() => receiver.received.length, { timeout: 10_000 }).toBe(1);
    await first.stop();

    const second = await started(both);
    const sealed = () =>
      database.sql<{ value: Buffer }>(
        `select unnest(array[secret, previous_secret, headers]) as value from latchkey.event_endpoint
          union all select sealed from latchkey.delivery where sealed is not null order by 1`,
      );
    const before = (await sealed()).map(({ value }) => value.toString('hex'));
    expect(await keysCommand(both, 'rotate')).toMatchObject({ code: 0 });
    const [active] = await database.sql<{ id: string }>('select id from latchkey.data_key where active');
    const after = await sealed();
    expect(after).toHaveLength(4);
    for (const { value } of after) {
      expect(before).not.toContain(value.toString('hex'));
      expect(`dk_${value.subarray(1, 17).toString('hex')}`).toBe(active!.id);
    }
    await second.stop();

    up = true;
    const third = await started(testEnv(database, current));
    await clientsTo(third).connections.createConnection({ name: 'after', credential: bearer('t') });
    const [refused] = receiver.received;
    const ids = () => receiver.received.map((one) => one.headers['webhook-id']);
    const others = () => new Set(ids().filter((id) => id !== refused!.headers['webhook-id'])).size;
    const again = () => ids().filter((id) => id === refused!.headers['webhook-id']).length;
    await database.sql(
      `update latchkey.delivery set due_time = now() where settle_time is null and status = 'PENDING'`,
    );
    await expect.poll(() => [again() > 1, others()], { timeout: 15_000 }).toEqual([true, 1]);
    for (const one of receiver.received) {
      for (const each of secrets) new Webhook(each).verify(one.body, one.headers as Record<string, string>);
      expect(one.headers.authorization).toBe('Bearer ours');
    }
  }, 120_000);
});
