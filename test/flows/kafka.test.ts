import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { bearer } from '../harness/credentials.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { ServerProcess } from '../harness/process.ts';
import { operatorAt } from '../harness/replicas.ts';
import { type Clients, newMasterKey, testEnv } from '../harness/server.ts';

/** Given by test/real/kafka.sh, which fetches a Kafka. */
const { KAFKA_TEST_BROKERS: BROKERS = '', KAFKA_TEST_COMMAND: COMMAND = '', KAFKA_TEST_PYTHON = '' } = process.env;
const { KAFKA_TEST_TLS_BROKERS, KAFKA_TEST_PLAIN_BROKERS, KAFKA_TEST_SCRAM_BROKERS } = process.env;
const { KAFKA_TEST_CA_FILE = '', KAFKA_TEST_PASSWORD = '' } = process.env;
const CHANGES = Number(process.env.CHANGES ?? 2_000);
const KILLS = Number(process.env.KILLS ?? 4);
const OUTAGES = Number(process.env.OUTAGES ?? 1);
const STEPS = KILLS + OUTAGES;
const CONNECTIONS = 40;
const REPLICAS = 3;
const TOPICS = ['token-events', 'entity-events', 'latchkey-events'];
const STEP_MS = 60_000;
/** Of what is asked for at once as a whole. */
const MOST_BYTES = 1024 ** 3;

type Received = {
  topic: string;
  partition: number;
  key: string;
  value: string;
  timestamp: number;
  headers: Record<string, string>;
};

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

/** What is in the topics, as a client reads it that is not the one which wrote it. */
async function received(topics: string[]): Promise<Received[]> {
  const args = ['test/real/kafka_reader.py', BROKERS, ...topics];
  const { stdout } = await promisify(execFile)(KAFKA_TEST_PYTHON, args, { maxBuffer: MOST_BYTES });
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Received);
}

/** Those about integrations have no id of their own in their form. */
function idOf({ value }: Received): string {
  return JSON.parse(value).eventId ?? value;
}

const broker = new Broker();
let database: TestDatabase;
const running: ServerProcess[] = [];

async function start(settings: Record<string, string>): Promise<ServerProcess> {
  // Events of integrations hold it, and are known again by their text.
  const shared = { PUBLIC_URL: 'https://keys.example', SANDBOX: 'off', LOG_LEVEL: 'info' };
  const kafka = { ...shared, KAFKA_TOPIC_EVENTS: 'latchkey-events', ...settings };
  const replica = await ServerProcess.ready(testEnv(database, masterKey, kafka));
  running.push(replica);
  return replica;
}
const masterKey = newMasterKey();

beforeAll(async () => {
  if (BROKERS) broker.start();
  database = await createTestDatabase();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((replica) => replica.stop('SIGKILL')));
});
afterAll(async () => {
  if (BROKERS) await broker.kill();
  await database.drop();
});

describe.skipIf(!BROKERS)('A real Kafka', () => {
  it(
    'gets every event in the order of its key, whatever is killed meanwhile',
    async () => {
      const replicas = await Promise.all(Array.from({ length: REPLICAS }, begin));
      const load = await Load.prepare(replicas);
      const outageEvery = Math.ceil(STEPS / (OUTAGES + 1));
      let [kills, outages] = [0, 0];
      for (let step = 1; step <= STEPS; step++) {
        load.allow((CHANGES * step) / STEPS);
        await load.reaches((CHANGES * (step - 0.5)) / STEPS);
        if (step % outageEvery === 0 && outages < OUTAGES) {
          outages += 1;
          await broker.kill();
          await load.reaches((CHANGES * step) / STEPS);
          broker.start();
        } else {
          const victim = kills++ % REPLICAS;
          await expect.poll(() => relayedBy(replicas[victim]!), { timeout: STEP_MS }).toBeGreaterThan(0);
          await replicas[victim]!.server.stop('SIGKILL');
          replicas[victim] = await begin();
        }
      }
      await load.end();
      await verify(kills, outages);
    },
    STEPS * STEP_MS + 300_000,
  );

  it.each([
    ['TLS', KAFKA_TEST_TLS_BROKERS, ''],
    ['SASL PLAIN over TLS', KAFKA_TEST_PLAIN_BROKERS, 'PLAIN'],
    ['SASL SCRAM-SHA-512 over TLS', KAFKA_TEST_SCRAM_BROKERS, 'SCRAM-SHA-512'],
  ])(
    'is reached by %s, and nothing is sent to one that is not the right one or does not know the password',
    async (name, brokers = '', mechanism) => {
      const sasl = (password: string): Record<string, string> =>
        mechanism
          ? {
              KAFKA_SASL_MECHANISM: mechanism,
              KAFKA_SASL_USERNAME: 'latchkey',
              KAFKA_SASL_PASSWORD: password,
            }
          : {};
      const trusted = { KAFKA_BROKERS: brokers, KAFKA_TLS_CA_FILE: KAFKA_TEST_CA_FILE };
      const wrong: Record<string, string>[] = [
        { KAFKA_BROKERS: brokers, KAFKA_TLS: 'true', ...sasl(KAFKA_TEST_PASSWORD) },
      ];
      if (mechanism) wrong.push({ ...trusted, ...sasl('another') });
      const topic = `secured-${name.replaceAll(' ', '-')}`;
      for (const [n, settings] of wrong.entries()) {
        const refused = await start({ ...settings, KAFKA_TOPIC_EVENTS: topic });
        await newConnection(operatorAt(refused), `${name} ${n}`);
        await expect.poll(() => kafkaAt(refused), { timeout: 30_000 }).toMatchObject({ status: 'degraded' });
        await refused.stop();
      }
      const replica = await start({ ...trusted, ...sasl(KAFKA_TEST_PASSWORD), KAFKA_TOPIC_EVENTS: topic });
      const connectionId = await newConnection(operatorAt(replica), name);
      await operatorAt(replica).connections.disableConnection({ connectionId });
      const keys = async () => (await received([topic])).map(({ key }) => key);
      await expect.poll(keys, { timeout: 30_000, interval: 500 }).toContain(connectionId);
      expect(await kafkaAt(replica)).toMatchObject({ status: 'up' });
    },
    120_000,
  );
});

type Running = { server: ServerProcess; clients: Clients };

async function begin(): Promise<Running> {
  const server = await start({ KAFKA_BROKERS: BROKERS });
  return { server, clients: operatorAt(server) };
}

async function newConnection({ connections }: Clients, name: string): Promise<string> {
  return (await connections.createConnection({ name, credential: bearer('t') })).connection!.id;
}

async function relayedBy({ server }: Running): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${server.httpPort}/metrics`)).text();
  return Number(/^latchkey_outbox_relayed_events_total (\d+)$/m.exec(metrics)?.[1]);
}

async function kafkaAt({ httpPort }: ServerProcess): Promise<unknown> {
  const ready = await (await fetch(`http://127.0.0.1:${httpPort}/readyz`)).json();
  return ready.dependencies.find(({ name }: { name: string }) => name === 'kafka');
}

/** Changes of connections and of an integration, one after another for each, at whichever replica answers. */
class Load {
  readonly #integrationId: string;
  readonly #replicas: Running[];
  readonly #working: Promise<unknown>;
  #allowed = 0;
  #made = 0;
  #turn = 0;

  private constructor(replicas: Running[], connectionIds: string[], integrationId: string) {
    this.#replicas = replicas;
    this.#integrationId = integrationId;
    this.#working = Promise.all([...connectionIds.map((id) => this.#changeConnection(id)), this.#changeIntegration()]);
  }

  static async prepare(replicas: Running[]): Promise<Load> {
    const { clients } = replicas[0]!;
    const { integration } = await clients.integrations.createIntegration({ provider: 'google', apps: ['drive'] });
    const ids: string[] = [];
    for (let i = 0; i < CONNECTIONS; i++) ids.push(await newConnection(clients, `c${i}`));
    return new Load(replicas, ids, integration!.id);
  }

  /** So many may have been made. */
  allow(changes: number): void {
    this.#allowed = changes;
  }

  async reaches(changes: number): Promise<void> {
    await expect.poll(() => this.#made, { timeout: STEP_MS, interval: 5 }).toBeGreaterThanOrEqual(Math.floor(changes));
  }

  async end(): Promise<void> {
    await this.#working;
  }

  async #changeConnection(connectionId: string): Promise<void> {
    for (let round = 0; this.#made < CHANGES; round++) {
      await this.#make(({ connections }) => connections.disableConnection({ connectionId }));
      await this.#make(({ connections }) => connections.enableConnection({ connectionId }));
      const credential = bearer(`t${round}`);
      await this.#make(({ connections }) => connections.updateConnection({ connectionId, credential }));
    }
  }

  async #changeIntegration(): Promise<void> {
    const integrationId = this.#integrationId;
    while (this.#made < CHANGES) {
      await this.#make(({ integrations }) => integrations.disableIntegration({ integrationId }));
      await this.#make(({ integrations }) => integrations.enableIntegration({ integrationId }));
      await pause(100);
    }
  }

  /** Until a replica said that it is made. */
  async #make(change: (clients: Clients) => Promise<unknown>): Promise<void> {
    for (;;) {
      while (this.#made >= this.#allowed && this.#made < CHANGES) await pause(5);
      const { clients } = this.#replicas[this.#turn++ % this.#replicas.length]!;
      const made = await change(clients).then(
        () => true,
        () => false,
      );
      if (made) {
        this.#made += 1;
        return;
      }
      await pause(20);
    }
  }
}

async function verify(kills: number, outages: number): Promise<void> {
  const sent = await database.sql<{ id: string; type: string; position: string }>(
    'select id, type, position from latchkey.outbox order by position',
  );
  const entity = new Set(['integration.enabled', 'integration.disabled']);
  const ids = sent.filter(({ type }) => !entity.has(type)).map(({ id }) => id);
  const ofIntegrations = sent.length - ids.length;
  let messages: Received[] = [];
  const missing = async () => {
    messages = await received(TOPICS);
    const there = new Set(messages.map(idOf));
    const integrations = new Set(messages.filter(({ topic }) => topic === 'entity-events').map(({ value }) => value));
    return ids.filter((id) => !there.has(id)).length + ofIntegrations - integrations.size;
  };
  await expect.poll(missing, { timeout: 120_000, interval: 1_000 }).toBe(0);
  const first = new Map<string, Received>();
  for (const message of messages) if (!first.has(idOf(message))) first.set(idOf(message), message);
  // Of one topic and key, in the order in which they first came.
  const orders = Map.groupBy(first.values(), ({ topic, key }) => `${topic} ${key}`);
  const position = new Map(sent.map(({ id, position }) => [id, Number(position)]));
  for (const [key, own] of orders) {
    expect(new Set(own.map(({ partition }) => partition)).size, key).toBe(1);
    const positions = own.map((message) => position.get(idOf(message)) ?? JSON.parse(message.value).timestamp);
    expect(positions, key).toEqual(positions.toSorted((a, b) => a - b));
  }
  const known = new Set(ids);
  for (const message of first.values()) if (message.topic !== 'entity-events') expect(known).toContain(idOf(message));
  const entities = messages.filter(({ topic }) => topic === 'entity-events');
  for (const { key, headers } of entities) expect(headers.eventType).toBe(key);
  const repeated = messages.length - first.size;
  process.stdout.write(
    `${sent.length} events, ${kills} kills of a relay, ${outages} outages: ${repeated} came again (${((repeated / sent.length) * 100).toFixed(2)} %)\n`,
  );
  expect(kills + outages).toBe(STEPS);
  // A batch of the relay is up to 128, so that of few events one alone may be more.
  if (CHANGES >= 50_000) expect(repeated).toBeLessThanOrEqual(sent.length / 100);
}
