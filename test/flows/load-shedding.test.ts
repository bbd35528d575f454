import { Client } from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { asFailure, failureOf } from '../harness/errors.ts';
import { TestServer, TRANSPORTS } from '../harness/server.ts';

const LEAST = 4;
const MOST = 500;

let server: TestServer;
let blocker: Client;
beforeAll(async () => {
  server = await TestServer.start({
    env: { DATABASE_POOL_SIZE: '2', MIN_IN_FLIGHT: String(LEAST), MAX_IN_FLIGHT: String(MOST), LOG_LEVEL: 'info' },
  });
  blocker = new Client({ connectionString: server.database.migrationUrl });
  await blocker.connect();
});
afterAll(async () => {
  await blocker.end();
  await server.stop();
});

async function metric(name: string): Promise<number> {
  const text = await (await fetch(`${server.httpUrl}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
}

describe('While the connections to the database are all held up', () => {
  it('calls are refused at once on every transport, health is answered, what waits for others is left alone, and all is as before when they are free', async () => {
    const { events } = server.operator();
    const ending = new AbortController();
    const watching = async () => {
      for await (const _ of events.watchEvents({}, { signal: ending.signal }));
    };
    const watched = watching().catch((error: unknown) => asFailure(error).code);
    await expect.poll(() => metric('latchkey_calls_in_flight')).toBe(1);
    await expect.poll(() => metric('latchkey_concurrency_limit'), { timeout: 20_000 }).toBe(MOST);
    await blocker.query('begin; lock table latchkey.connection in access exclusive mode');
    const { connections } = server.operator();
    const held = Array.from({ length: 40 }, () =>
      connections.listConnections({}).then(
        () => 'answered',
        (error: unknown) => asFailure(error).reason,
      ),
    );
    await expect.poll(() => metric('latchkey_concurrency_limit'), { timeout: 10_000 }).toBe(LEAST);
    for (const transport of TRANSPORTS) {
      const startedAt = performance.now();
      const failure = await failureOf(server.operator(transport).access.listRoles({}));
      expect(performance.now() - startedAt).toBeLessThan(1_000);
      expect(failure).toMatchObject({ code: 'ResourceExhausted', reason: 'OVERLOADED' });
      expect(failure.retryAfterMs).toBeGreaterThan(0);
      expect((await server.operator(transport).status.getStatus({})).dependencies.length).toBeGreaterThan(0);
    }
    const proxied = await fetch(`${server.httpUrl}/proxy/conn_00000000000000000000000000/`);
    expect([proxied.status, (await proxied.json()).reason]).toEqual([429, 'OVERLOADED']);
    for (const path of ['/healthz', '/readyz']) expect((await fetch(`${server.httpUrl}${path}`)).status).toBe(200);
    expect(await metric('latchkey_calls_shed_total\\{reason="load"\\}')).toBeGreaterThan(TRANSPORTS.length);
    await blocker.query('commit');
    // What was taken is answered.
    const outcomes = await Promise.all(held);
    expect(outcomes.filter((outcome) => outcome === 'answered').length).toBeGreaterThan(LEAST);
    expect(outcomes.filter((outcome) => !['answered', 'OVERLOADED'].includes(outcome))).toEqual([]);
    expect((await server.operator().access.listRoles({})).roles.length).toBeGreaterThan(0);
    await expect.poll(() => metric('latchkey_concurrency_limit'), { timeout: 20_000 }).toBe(MOST);
    expect(server.logLines.filter((line) => line.includes('calls were refused')).length).toBeGreaterThan(0);
    ending.abort();
    expect(await watched).toBe('Canceled');
  });
});
