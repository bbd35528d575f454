import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DeliveryStatus } from '../../gen/latchkey/v1/delivery_pb.ts';
import { WebhookMode } from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { bearer } from '../harness/credentials.ts';
import { operatorAt, Replicas } from '../harness/replicas.ts';
import { TestServer } from '../harness/server.ts';
import { sendMany, timesReceived } from '../harness/webhook-load.ts';
import { startWebhookReceiver } from '../harness/webhook-receiver.ts';

describe('Deliveries', () => {
  let replicas: Replicas;
  beforeAll(async () => {
    replicas = await Replicas.create();
  });
  afterAll(() => replicas.stop());

  const unsettled = async () => {
    const [row] = await replicas.database.sql<{ left: string }>(
      'select count(*) as left from latchkey.delivery where settle_time is null',
    );
    return Number(row!.left);
  };

  it('survive a kill -9 of the sender in the middle of hundreds: none is lost, each keeps its id, and few come twice', async () => {
    await using receiver = await startWebhookReceiver();
    const [first, second] = await Promise.all([replicas.start(), replicas.start()]);
    const clients = [operatorAt(first), operatorAt(second)];
    let turn = 0;
    let alive = clients;
    const killing = expect.poll(() => receiver.received.length, { timeout: 20_000, interval: 1 }).toBeGreaterThan(150);
    const sending = sendMany(() => alive[turn++ % alive.length]!, 500, { url: () => `${receiver.url}/x`, attempts: 3 });
    await killing;
    await first.stop('SIGKILL');
    alive = [clients[1]!];
    const accepted = await sending;
    expect(new Set(accepted).size).toBe(500);
    await expect.poll(unsettled, { timeout: 20_000 }).toBe(0);
    const times = timesReceived(receiver.received);
    expect(accepted.filter((id) => !times.has(id))).toEqual([]);
    expect([...times.values()].filter((count) => count > 1).length).toBeLessThan(256);
    const rows = await replicas.database.sql<{ id: string; status: string }>(
      'select id, status from latchkey.delivery',
    );
    expect(rows.filter(({ status }) => status !== 'SUCCEEDED')).toEqual([]);
    expect(rows.map(({ id }) => id)).toEqual(expect.arrayContaining(accepted));
    await second.stop();
  });

  it('are given up where five processes in a row ended with them, and those that were lost along are sent', async () => {
    await using poison = await startWebhookReceiver(() => null);
    await using innocent = await startWebhookReceiver((n) => (n < 6 ? null : { status: 204 }));
    const fresh = await Replicas.create();
    const accepted: string[] = [];
    try {
      for (let round = 1; round <= 5; round++) {
        // As the end of the leases of who died, with what ends processes first.
        await fresh.database.sql(
          `update latchkey.delivery set due_time = now() - case host when $1 then interval '2 seconds' else interval '1 second' end`,
          [`127.0.0.1:${poison.port}`],
        );
        const replica = await fresh.start();
        const mode = WebhookMode.FIRE_AND_FORGET;
        for (const { url } of round === 1 ? [poison, innocent, innocent] : [])
          accepted.push((await operatorAt(replica).webhooks.sendWebhook({ url, mode })).delivery!.id);
        // What was lost three times is sent alone.
        const along = Math.min(round, 3) * 2;
        await expect
          .poll(() => [poison.received.length, innocent.received.length], { timeout: 10_000 })
          .toEqual([round, along]);
        await replica.stop('SIGKILL');
      }
      await fresh.database.sql('update latchkey.delivery set due_time = now()');
      const { webhooks } = operatorAt(await fresh.start());
      const deliveries = async () =>
        Promise.all(accepted.map(async (deliveryId) => (await webhooks.getDelivery({ deliveryId })).delivery));
      await expect.poll(deliveries, { timeout: 10_000 }).toMatchObject([
        { status: DeliveryStatus.FAILED, error: 'abandoned', attempts: [{ statusCode: 0, error: 'abandoned' }] },
        { status: DeliveryStatus.SUCCEEDED, error: '' },
        { status: DeliveryStatus.SUCCEEDED, error: '' },
      ]);
      expect(poison.received).toHaveLength(5);
      const told = await fresh.database.sql<{ payload: object }>(
        `select payload from latchkey.outbox where type = 'webhook.failed'`,
      );
      expect(told).toMatchObject([{ payload: { error: 'abandoned', status_code: 0 } }]);
      // Whoever retries it has it tried as often again.
      await webhooks.retryDelivery({ deliveryId: accepted[0]! });
      await expect.poll(() => poison.received.length, { timeout: 10_000 }).toBe(6);
    } finally {
      await fresh.stop();
    }
  }, 60_000);

  it('are handed over by a replica that stops', async () => {
    let open = false;
    await using receiver = await startWebhookReceiver(() => ({ status: open ? 200 : 503 }));
    const stopping = await replicas.start();
    const accepted = await sendMany(() => operatorAt(stopping), 50, { url: () => receiver.url, attempts: 10 });
    expect((await stopping.stop()).code).toBe(0);
    expect(await unsettled()).toBeGreaterThan(0);
    const leased = await replicas.database.sql(`select 1 from latchkey.delivery where status = 'DELIVERING'`);
    expect(leased).toEqual([]);
    open = true;
    const other = await replicas.start();
    await expect.poll(unsettled, { timeout: 20_000 }).toBe(0);
    const times = timesReceived(receiver.received);
    expect(accepted.filter((id) => !times.has(id))).toEqual([]);
    await other.stop();
  });
});

describe('The sender', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await TestServer.start();
  });
  afterAll(() => server.stop());

  it('keeps nobody waiting for a dead host, whatever waits for that', async () => {
    await using dead = await startWebhookReceiver(() => null);
    await using well = await startWebhookReceiver();
    const one = await server.as('admin', { tenant: 'dead-host' });
    const other = await server.as('admin', { tenant: 'other' });
    await sendMany(() => one, 300, { url: () => dead.url, timeoutMs: 3_000 });
    await expect.poll(() => dead.received.length).toBeGreaterThan(1);
    const start = performance.now();
    for (const { webhooks } of [one, other]) {
      const { delivery } = await webhooks.sendWebhook({ url: well.url });
      expect(delivery?.status).toBe(DeliveryStatus.SUCCEEDED);
    }
    const accepted = await sendMany(() => other, 300, { url: () => well.url, timeoutMs: 8_000 });
    await expect.poll(() => timesReceived(well.received).size, { timeout: 10_000 }).toBe(302);
    // One after the other, four at a time, those for the dead host would take minutes.
    expect(performance.now() - start).toBeLessThan(10_000);
    expect(accepted).toHaveLength(300);
    expect(dead.received.length).toBeLessThan(50);
  });

  it('answers how it stands where a delivery takes longer than a call may, and goes on', async () => {
    await using receiver = await startWebhookReceiver((n) => ({
      status: n === 0 ? 503 : 200,
      headers: { 'retry-after': '3' },
    }));
    const quick = await TestServer.start({ env: { MAX_CALL_MS: '3000' } });
    try {
      const { webhooks } = await quick.as('admin', { tenant: 't' });
      const { delivery } = await webhooks.sendWebhook({ url: receiver.url });
      expect(delivery).toMatchObject({ status: DeliveryStatus.PENDING, error: 'status' });
      const now = async () => (await webhooks.getDelivery({ deliveryId: delivery!.id })).delivery?.status;
      await expect.poll(now, { timeout: 8_000 }).toBe(DeliveryStatus.SUCCEEDED);
    } finally {
      await quick.stop();
    }
  });

  it('takes the credential of the moment, and sends what is queued with a new one', async () => {
    await using receiver = await startWebhookReceiver((n) => ({ status: n === 0 ? 503 : 200 }));
    const { connections, webhooks } = await server.as('admin', { tenant: 'credentials' });
    const made = await connections.createConnection({ name: 'c', credential: bearer('old'), baseUrl: receiver.url });
    const connectionId = made.connection!.id;
    const mode = WebhookMode.FIRE_AND_FORGET;
    const { delivery } = await webhooks.sendWebhook({ connectionId, mode, backoffMs: 500 });
    await expect.poll(() => receiver.received.length).toBe(1);
    await connections.updateConnection({ connectionId, credential: bearer('new') });
    await expect.poll(() => receiver.received.length, { timeout: 5_000 }).toBe(2);
    expect(receiver.received.map(({ headers }) => headers.authorization)).toEqual(['Bearer old', 'Bearer new']);
    const [row] = await server.database.sql<{ row: string }>(
      `select d::text as row from latchkey.delivery d where id = $1`,
      [delivery!.id],
    );
    expect(row!.row).not.toMatch(/old|new/);
  });

  it('sends nothing that was altered in the database, and shows it as failed', async () => {
    await using receiver = await startWebhookReceiver(() => ({ status: 503 }));
    const { webhooks } = await server.as('admin', { tenant: 'altered' });
    const sent = [1, 2].map(() => webhooks.sendWebhook({ url: receiver.url, attempts: 1 }));
    const [a, b] = (await Promise.all(sent)).map(({ delivery }) => delivery!.id);
    await server.database.sql(
      `update latchkey.delivery set sealed = (select sealed from latchkey.delivery where id = $1) where id = $2`,
      [a, b],
    );
    await webhooks.retryDelivery({ deliveryId: b! });
    const now = async () => (await webhooks.getDelivery({ deliveryId: b! })).delivery;
    await expect.poll(now, { timeout: 5_000 }).toMatchObject({ status: DeliveryStatus.FAILED, error: 'INTERNAL' });
    expect(receiver.received).toHaveLength(2);
  });

  it('deletes what was settled before the retention, and nothing else', async () => {
    await using receiver = await startWebhookReceiver();
    const own = await TestServer.start({ env: { RETENTION_DAYS: '2' } });
    try {
      const { webhooks } = await own.as('admin', { tenant: 't' });
      const ids: string[] = [];
      for (let i = 0; i < 3; i++) ids.push((await webhooks.sendWebhook({ url: receiver.url })).delivery!.id);
      await own.database.sql(`update latchkey.delivery set settle_time = now() - interval '49 hours' where id = $1`, [
        ids[0],
      ]);
      await own.database.sql(`update latchkey.delivery set settle_time = now() - interval '47 hours' where id = $1`, [
        ids[1],
      ]);
      const { Housekeeper } = await import('../../src/jobs/housekeeper.ts');
      await new Housekeeper(own.replica.app).clean();
      const left = (await webhooks.listDeliveries({})).deliveries.map(({ id }) => id);
      expect(left).toEqual([ids[2], ids[1]]);
    } finally {
      await own.stop();
    }
  });

  it('survives the loss of its database connections', async () => {
    await using receiver = await startWebhookReceiver();
    const clients = await server.as('admin', { tenant: 'connections' });
    const cutting = (async () => {
      for (let i = 0; i < 5; i++) {
        await pause(40);
        await server.database.sql(
          `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'latchkey' and pid <> pg_backend_pid()`,
        );
      }
    })();
    const accepted = await sendMany(() => clients, 400, { url: () => receiver.url });
    await cutting;
    const left = async () =>
      Number(
        (
          await server.database.sql<{ n: string }>(
            `select count(*) as n from latchkey.delivery where tenant_id = 'connections' and settle_time is null`,
          )
        )[0]!.n,
      );
    await expect.poll(left, { timeout: 15_000 }).toBe(0);
    const times = timesReceived(receiver.received);
    expect(accepted.filter((id) => !times.has(id))).toEqual([]);
  });
});
