import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DependencyStatus } from '../../gen/latchkey/v1/status_service_pb.ts';
import { describeRpc } from '../harness/describe-rpc.ts';
import { TestServer } from '../harness/server.ts';

describeRpc('StatusService', ({ server, transport, operator, as }) => {
  it('tells anybody what the service stands on, and the operator how each does', async () => {
    const anybody = (await server().clients(transport).status.getStatus({})).dependencies;
    const names = ['database', 'listener', 'queue', 'master_key', 'audit'];
    expect(anybody.map(({ name }) => name)).toEqual(expect.arrayContaining([...names, 'provider:google']));
    for (const { name, status, since, latencyMs, detail } of anybody) {
      expect(status, name).toBe(name.startsWith('provider:') ? DependencyStatus.UNKNOWN : DependencyStatus.UP);
      expect(since).toBeDefined();
      expect([latencyMs, detail]).toEqual([undefined, '']);
    }
    const admins = (await (await as('admin')).status.getStatus({})).dependencies;
    expect(admins.every(({ latencyMs }) => latencyMs === undefined)).toBe(true);
    const [database] = (await operator().status.getStatus({})).dependencies;
    expect(database).toMatchObject({ name: 'database', latencyMs: expect.any(Number) });
  });
});

describe('The status', () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await TestServer.start();
  });
  afterAll(() => server.stop());

  it('is degraded, and answers calls, while a provider fails', async () => {
    const { app } = server.replica;
    for (let n = 0; n < 3; n++) app.providerHealth.note('bexio', false);
    const status = async () => {
      const { status: overall, dependencies } = await server.operator().status.getStatus({});
      return { overall, bexio: dependencies.find(({ name }) => name === 'provider:bexio')?.status };
    };
    await expect
      .poll(status, { timeout: 15_000 })
      .toEqual({ overall: DependencyStatus.DEGRADED, bexio: DependencyStatus.DOWN });
    const ready = await fetch(`${server.httpUrl}/readyz`);
    expect(ready.status).toBe(200);
    expect(await ready.json()).toMatchObject({ ready: true, status: 'degraded' });
  });

  it('says that a job waits, and since when', async () => {
    await server.database.sql(
      `select graphile_worker.add_job('nobody_does_this', run_at => now() - interval '10 minutes')`,
    );
    const queue = async () =>
      (await server.operator().status.getStatus({})).dependencies.find(({ name }) => name === 'queue');
    await expect.poll(queue, { timeout: 15_000 }).toMatchObject({
      status: DependencyStatus.DEGRADED,
      detail: expect.stringMatching(/^a job has been due for \d+ s$/),
    });
  });
});
