import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ServerProcess } from '../harness/process.ts';
import { operatorAt, Replicas } from '../harness/replicas.ts';
import type { Clients } from '../harness/server.ts';
import { sendMany, timesReceived } from '../harness/webhook-load.ts';
import { startWebhookReceiver } from '../harness/webhook-receiver.ts';

const DELIVERIES = 10_000;
const KILLS = 100;
const AT_A_KILL = DELIVERIES / KILLS;
/** To kill and start replicas, and then to deliver what is left. */
const KILLING_MS = 270_000;
const REST_MS = 120_000;

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

describe('10,000 deliveries while senders are killed', () => {
  it('loses none: each arrives under its own id, and more than once only where it was under way', async () => {
    // One in ten is refused at first, so that there are always some to be tried again.
    await using receiver = await startWebhookReceiver((n) => ({ status: n % 10 === 0 ? 503 : 204 }));
    const running = await Promise.all([start(), start()]);
    let turn = 0;
    const next = () => running[turn++ % running.length]!.clients;
    const until = performance.now() + KILLING_MS;
    const accepted: string[] = [];
    let kills = 0;
    while (kills < KILLS && performance.now() < until) {
      const before = receiver.received.length;
      const sending = sendMany(next, AT_A_KILL, { url: (n) => `${receiver.url}/${n}` });
      await expect.poll(() => receiver.received.length, { timeout: 20_000, interval: 1 }).toBeGreaterThan(before + 20);
      const victim = kills++ % running.length;
      await running[victim]!.server.stop('SIGKILL');
      running[victim] = await start();
      accepted.push(...(await sending));
    }
    accepted.push(...(await sendMany(next, DELIVERIES - accepted.length, { url: (n) => `${receiver.url}/${n}` })));
    await expect.poll(unsettled, { timeout: REST_MS, interval: 500 }).toBe(0);
    const times = timesReceived(receiver.received);
    const rows = await replicas.database.sql<{ id: string; status: string; attempts: number }>(
      'select id, status, jsonb_array_length(attempts) as attempts from latchkey.delivery',
    );
    const repeated = rows.filter(({ id, attempts }) => (times.get(id) ?? 0) > attempts).length;
    process.stdout.write(
      `${kills} kills, ${accepted.length} accepted, ${repeated} came more often than was written down\n`,
    );
    expect(kills).toBeGreaterThan(20);
    expect(new Set(accepted).size).toBe(DELIVERIES);
    const stored = new Set(rows.map(({ id }) => id));
    expect(accepted.filter((id) => !stored.has(id))).toEqual([]);
    expect(rows.filter(({ status }) => status !== 'SUCCEEDED')).toEqual([]);
    expect(rows.filter(({ id }) => !times.has(id))).toEqual([]);
    expect([...times.keys()].filter((id) => !stored.has(id))).toEqual([]);
    expect(repeated).toBeLessThan(kills * 256);
  });
});

async function unsettled(): Promise<number> {
  const [row] = await replicas.database.sql<{ left: string }>(
    'select count(*) as left from latchkey.delivery where settle_time is null',
  );
  return Number(row!.left);
}
