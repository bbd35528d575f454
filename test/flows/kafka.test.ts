import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { Consumer, type Message, stringDeserializers } from '@platformatic/kafka';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bearer } from '../harness/credentials.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { ServerProcess } from '../harness/process.ts';
import { operatorAt } from '../harness/replicas.ts';
import { newMasterKey, testEnv } from '../harness/server.ts';

/** Given by test/real/kafka.sh, which fetches a Kafka. */
const { KAFKA_TEST_BROKERS: BROKERS = '', KAFKA_TEST_COMMAND: COMMAND = '' } = process.env;
const CONNECTIONS = 20;
const ROUNDS = 25;
const TOPICS = ['token-events', 'entity-events', 'latchkey-events'];
type Received = Message<string, string, string, string>;

/** The broker as a process of the test's own. */
class Broker {
  #process: ChildProcess | null = null;

  start(): void {
    const [program = '', ...args] = COMMAND.split(' ');
    this.#process = spawn(program, args, { stdio: 'ignore' });
  }

  async kill(): Promise<void> {
    const exited = once(this.#process!, 'exit');
    this.#process!.kill('SIGKILL');
    await exited;
  }
}

/** What is in the topics, read until it holds these events and so many of integrations. */
async function received(ids: string[], ofIntegrations: number): Promise<Received[]> {
  const consumer = new Consumer({
    ...{ groupId: `test-${Math.random()}`, clientId: 'test', bootstrapBrokers: [BROKERS] },
    deserializers: stringDeserializers,
  });
  const stream = await consumer.consume({ topics: TOPICS, mode: 'earliest', autocommit: false });
  const messages: Received[] = [];
  const missing = new Set(ids);
  const integrations = new Set<string>();
  for await (const message of stream) {
    messages.push(message);
    missing.delete(idOf(message));
    if (message.topic === 'entity-events') integrations.add(message.value);
    if (missing.size === 0 && integrations.size === ofIntegrations) break;
  }
  await consumer.close(true);
  return messages;
}

/** Those about integrations have no id of their own in their form. */
function idOf({ value }: Received): string {
  return JSON.parse(value).eventId ?? value;
}

describe.skipIf(!BROKERS)('A real Kafka', () => {
  const broker = new Broker();
  let database: TestDatabase;
  let env: Record<string, string>;
  const running: ServerProcess[] = [];
  const start = async () => {
    const replica = await ServerProcess.ready(env);
    running.push(replica);
    return replica;
  };
  beforeAll(async () => {
    broker.start();
    database = await createTestDatabase();
    env = testEnv(database, newMasterKey(), {
      ...{ KAFKA_BROKERS: BROKERS, KAFKA_TOPIC_EVENTS: 'latchkey-events', SANDBOX: 'off', LOG_LEVEL: 'info' },
    });
  });
  afterAll(async () => {
    await Promise.all(running.map((replica) => replica.stop('SIGKILL')));
    await broker.kill();
    await database.drop();
  });

  it('gets every event in the order of its key, whatever is killed meanwhile', async () => {
    let relaying = await start();
    const { connections, integrations } = operatorAt(relaying);
    const { integration } = await integrations.createIntegration({ provider: 'google', apps: ['drive'] });
    const connectionIds: string[] = [];
    for (let i = 0; i < CONNECTIONS; i++)
      connectionIds.push(
        (await connections.createConnection({ name: `c${i}`, credential: bearer('t') })).connection!.id,
      );
    const changing = async (by: ServerProcess) => {
      const clients = operatorAt(by);
      const one = async (connectionId: string) => {
        for (let round = 0; round < ROUNDS; round++) {
          await clients.connections.disableConnection({ connectionId });
          await clients.connections.enableConnection({ connectionId });
          await clients.connections.updateConnection({ connectionId, credential: bearer(`t${round}`) });
        }
      };
      await Promise.all(connectionIds.map(one));
      await clients.integrations.disableIntegration({ integrationId: integration!.id });
      await clients.integrations.enableIntegration({ integrationId: integration!.id });
    };
    for (const kill of ['relay', 'broker', 'relay'] as const) {
      const next = await start();
      const work = changing(next);
      if (kill === 'broker') {
        await broker.kill();
        await work;
        broker.start();
      }
      await relaying.stop('SIGKILL');
      await work;
      relaying = next;
    }
    const sent = await database.sql<{ id: string; type: string; aggregate_id: string; position: string }>(
      `select id, type, aggregate_id, position from latchkey.outbox where aggregate_type in ('connection', 'integration') order by position`,
    );
    const entity = new Set(['integration.enabled', 'integration.disabled']);
    const ids = sent.filter(({ type }) => !entity.has(type)).map(({ id }) => id);
    const messages = await received(ids, sent.length - ids.length);
    const first = new Map<string, Received>();
    for (const message of messages) if (!first.has(idOf(message))) first.set(idOf(message), message);
    // Of one topic and key, in the order in which they first came.
    const orders = Map.groupBy(first.values(), ({ topic, key }) => `${topic} ${key}`);
    const position = new Map(sent.map(({ id, position }) => [id, Number(position)]));
    for (const [key, own] of orders) {
      const positions = own.map((message) => position.get(idOf(message)) ?? Number(message.timestamp));
      expect(positions, key).toEqual(positions.toSorted((a, b) => a - b));
    }
    const enabled = messages.filter(({ topic, key }) => topic === 'entity-events' && key === 'appEnabled');
    expect(new Set(enabled.map(({ value }) => value)).size).toBe(3);
    expect(enabled[0]!.headers.get('eventType')).toBe('appEnabled');
    process.stdout.write(`${messages.length - first.size} of ${first.size} events came more than once\n`);
  }, 300_000);
});
