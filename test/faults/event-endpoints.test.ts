import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bearer } from '../harness/credentials.ts';
import type { ServerProcess } from '../harness/process.ts';
import { operatorAt, Replicas } from '../harness/replicas.ts';
import type { Clients } from '../harness/server.ts';
import { type ReceivedWebhook, type Reply, startWebhookReceiver } from '../harness/webhook-receiver.ts';

const CHANGES = Number(process.env.CHANGES ?? 3_000);
const KILLS = Number(process.env.KILLS ?? 100);
const CONNECTIONS = 30;
const AT_ONCE = 15;
/** Until a replica that was started has passed something on, and until all has arrived at the end. */
const ROUND_MS = 60_000;
const REST_MS = 180_000;
const LIVE = ['well', 'filtered', 'half'];

let replicas: Replicas;
beforeAll(async () => {
  replicas = await Replicas.create();
});
afterAll(() => replicas.stop());

type Running = { server: ServerProcess; clients: Clients };

async function start(): Promise<Running> {
  const server = await replicas.start();
  return { server, clients: operatorAt(server) };
}

describe(`${CHANGES} changes while replicas are killed`, () => {
  it(
    'are told at least once to each endpoint that lives, each under one id',
    async () => {
      // What came to each endpoint, by its id, and what of it was taken.
      const [came, taken] = [new Map<string, number>(), new Map<string, number>()];
      const answered = (_: number, { url, headers }: ReceivedWebhook): Reply | null => {
        const endpoint = url.slice(1);
        if (endpoint === 'dead') return null;
        const key = `${endpoint} ${headers['webhook-id']}`;
        const times = (came.get(key) ?? 0) + 1;
        came.set(key, times);
        if (endpoint === 'half' && times % 2 === 1) return { status: 503 };
        taken.set(key, (taken.get(key) ?? 0) + 1);
        return { status: 204 };
      };
      await using receiver = await startWebhookReceiver(answered);
      const running = await Promise.all([start(), start()]);
      const { clients } = running[0]!;
      const ids: string[] = [];
      for (let i = 0; i < CONNECTIONS; i++) {
        const { connection } = await clients.connections.createConnection({ name: `c${i}`, credential: bearer('t') });
        ids.push(connection!.id);
      }
      const eventTypes = { types: ['connection.*'] };
      for (const path of [...LIVE, 'dead']) {
        const filter = path === 'filtered' ? 'event.data.generation > 0' : '';
        await clients.webhooks.createEndpoint({ url: `${receiver.url}/${path}`, eventTypes, filter });
      }
      const before = await eventsOf();
      const change = changer(running, ids);
      for (let kill = 0; kill < KILLS; kill++) {
        const received = receiver.received.length;
        const changing = change(Math.ceil(CHANGES / KILLS));
        await expect
          .poll(() => receiver.received.length, { timeout: ROUND_MS, interval: 1 })
          .toBeGreaterThan(received + 5);
        const victim = kill % running.length;
        await running[victim]!.server.stop('SIGKILL');
        running[victim] = await start();
        await changing;
        await hurry();
      }
      const events = (await eventsOf()).slice(before.length);
      expect(events.length).toBeGreaterThanOrEqual(CHANGES);
      const missing = async () => {
        await hurry();
        return LIVE.flatMap((endpoint) => events.filter((id) => !taken.has(`${endpoint} ${id}`))).length;
      };
      await expect.poll(missing, { timeout: REST_MS, interval: 500 }).toBe(0);
      const known = new Set(events);
      for (const key of taken.keys()) expect(known).toContain(key.split(' ')[1]);
      await deliveriesAreOne(events.length);
      const again = [...taken.values()].reduce((sum, times) => sum + times - 1, 0);
      process.stdout.write(
        `${KILLS} kills, ${events.length} events to ${LIVE.length} endpoints: ${again} of ${events.length * LIVE.length} were taken more than once\n`,
      );
      // What a replica has in hand when it dies is sent again.
      expect(again).toBeLessThan(KILLS * 256);
    },
    KILLS * ROUND_MS + REST_MS,
  );
});

/** Makes so many changes, each tried at one replica after the other until one said that it is made. */
function changer(running: readonly Running[], ids: readonly string[]): (count: number) => Promise<void> {
  let [turn, made] = [0, 0];
  const one = async () => {
    const connectionId = ids[made++ % ids.length]!;
    for (;;) {
      const { connections } = running[turn++ % running.length]!.clients;
      const displayName = `${made}`;
      const answered = await connections.updateConnection({ connectionId, displayName }).catch(() => null);
      if (answered) return;
      await pause(20);
    }
  };
  return async (count) => {
    const end = made + count;
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        while (made < end) await one();
      }),
    );
  };
}

async function eventsOf(): Promise<string[]> {
  const rows = await replicas.database.sql<{ id: string }>(
    `select id from latchkey.outbox where type like 'connection.%' order by seq`,
  );
  return rows.map(({ id }) => id);
}

/** The schedule would have what failed twice wait for minutes. */
async function hurry(): Promise<void> {
  await replicas.database.sql(
    `update latchkey.delivery set due_time = now() where settle_time is null and status = 'PENDING' and due_time > now() and attempt_count > 0`,
  );
}

/** Each event has one delivery an endpoint, whoever passed it on. */
async function deliveriesAreOne(events: number): Promise<void> {
  const rows = await replicas.database.sql<{ count: string; events: string }>(
    `select count(*), count(distinct message_id) as events from latchkey.delivery where purpose = 'event' group by signed_by`,
  );
  expect(rows).toEqual(Array(LIVE.length + 1).fill({ count: String(events), events: String(events) }));
}
