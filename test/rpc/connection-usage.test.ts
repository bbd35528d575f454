import { expect, it } from 'vitest';
import type { UsageDay } from '../../gen/latchkey/v1/connection_service_pb.ts';
import { addUsage } from '../../src/domain/usage/add-usage.ts';
import { Housekeeper } from '../../src/jobs/housekeeper.ts';
import { bearer } from '../harness/credentials.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { failureOf } from '../harness/errors.ts';
import type { Clients } from '../harness/server.ts';

const DAY_MS = 24 * 3_600_000;
const dayBefore = (days: number) => new Date(Date.now() - days * DAY_MS).toISOString().slice(0, 10);
const numbers = ({ calls, errors, rateLimited }: UsageDay) => [calls, errors, rateLimited].map(Number);

describeRpc('ConnectionService.GetConnectionUsage', ({ as, server, tenant }) => {
  const app = () => server().replica.app;
  const made = async ({ connections }: Clients, name = 'c') =>
    (await connections.createConnection({ name, credential: bearer('t') })).connection!.id;
  const used = (connectionId: string, day: string, calls: number) =>
    addUsage(app(), tenant(), [{ connectionId, day, calls, errors: 0, rateLimited: 0 }]);
  const unusual = () =>
    server().database.sql<{ aggregate_id: string; payload: object }>(
      `select aggregate_id, payload from latchkey.outbox where tenant_id = $1 and type = 'connection.usage_unusual'`,
      [tenant()],
    );

  it('answers calls, errors and 429s by day, a few seconds later at most', async () => {
    const clients = await as('admin');
    const connectionId = await made(clients);
    for (const outcome of ['ok', 'ok', 'error', 'rate_limited', 'ok'] as const)
      app().usage.called(tenant(), connectionId, outcome);
    // Of a connection that is not there, or is another tenant's, nothing is kept.
    app().usage.called(tenant(), `conn_${'0'.repeat(26)}`, 'ok');
    const today = async () => (await clients.connections.getConnectionUsage({ connectionId })).days.at(-1)!;
    await expect.poll(async () => numbers(await today()), { timeout: 6_000 }).toEqual([5, 1, 1]);
    app().usage.called(tenant(), connectionId, 'error');
    await expect.poll(async () => numbers(await today()), { timeout: 6_000 }).toEqual([6, 2, 1]);
    expect((await today()).date).toBe(dayBefore(0));
  });

  it('answers the days that are asked for, those without calls, too', async () => {
    const clients = await as('admin');
    const connectionId = await made(clients);
    await used(connectionId, dayBefore(2), 7);
    const { days } = await clients.connections.getConnectionUsage({ connectionId });
    expect(days.map(({ date }) => date)).toEqual([6, 5, 4, 3, 2, 1, 0].map(dayBefore));
    expect(days.map((day) => Number(day.calls))).toEqual([0, 0, 0, 0, 7, 0, 0]);
    const one = await clients.connections.getConnectionUsage({ connectionId, days: 1 });
    expect(one.days.map(({ date }) => date)).toEqual([dayBefore(0)]);
    expect((await clients.connections.getConnectionUsage({ connectionId, days: 90 })).days).toHaveLength(90);
    for (const wrong of [91, -1])
      expect((await failureOf(clients.connections.getConnectionUsage({ connectionId, days: wrong }))).fields).toEqual([
        'days',
      ]);
  });

  it('is for those who see the connection', async () => {
    const connectionId = await made(await as('admin'));
    expect((await (await as('approver')).connections.getConnectionUsage({ connectionId })).days).toHaveLength(7);
    const there = await as('admin', { tenant: `${tenant()}-other` });
    const refusals = await Promise.all(
      [connectionId, `conn_${'0'.repeat(26)}`].map(async (id) => {
        const { metadata, ...failure } = await failureOf(there.connections.getConnectionUsage({ connectionId: id }));
        return { ...failure, metadata: Object.keys(metadata) };
      }),
    );
    expect(refusals[0]).toEqual(refusals[1]);
    expect(refusals[0]!.reason).toBe('CONNECTION_NOT_FOUND');
    await addUsage(app(), `${tenant()}-other`, [
      { connectionId, day: dayBefore(0), calls: 9, errors: 9, rateLimited: 9 },
    ]);
    const { days } = await (await as('admin')).connections.getConnectionUsage({ connectionId });
    expect(numbers(days.at(-1)!)).toEqual([0, 0, 0]);
  });

  it('tells once a day of ten times the mean, however many replicas count', async () => {
    const connectionId = await made(await as('admin'));
    for (const days of [1, 2, 4]) await used(connectionId, dayBefore(days), 20);
    // 60 calls in 4 days: 15 a day.
    await used(connectionId, dayBefore(0), 150);
    expect(await unusual()).toEqual([]);
    await Promise.all(Array.from({ length: 8 }, () => used(connectionId, dayBefore(0), 1)));
    await used(connectionId, dayBefore(0), 10_000);
    const told = await unusual();
    expect(told).toMatchObject([{ aggregate_id: connectionId, payload: { day: dayBefore(0), mean: 15 } }]);
    const { days } = await (await as('admin')).connections.getConnectionUsage({ connectionId });
    expect(Number(days.at(-1)!.calls)).toBe(10_158);
  });

  it('tells nothing of few calls, or of a connection that is new', async () => {
    const clients = await as('admin');
    const [rare, young] = [await made(clients, 'rare'), await made(clients, 'young')];
    await used(rare, dayBefore(5), 1);
    await used(rare, dayBefore(0), 99);
    await used(young, dayBefore(2), 1);
    await used(young, dayBefore(0), 100_000);
    expect(await unusual()).toEqual([]);
    await used(rare, dayBefore(0), 1);
    expect(await unusual()).toHaveLength(1);
  });

  it('forgets what is older than 90 days', async () => {
    const connectionId = await made(await as('admin'));
    for (const days of [89, 90, 91, 200]) await used(connectionId, dayBefore(days), 1);
    await new Housekeeper(app()).clean();
    const rows = await server().database.sql<{ day: string }>(
      'select day::text from latchkey.connection_usage where tenant_id = $1 order by day desc',
      [tenant()],
    );
    expect(rows.map(({ day }) => day)).toEqual([dayBefore(89), dayBefore(90)]);
  });
});
