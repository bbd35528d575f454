import { request as httpRequest, type IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebhookMode } from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { bearer } from '../harness/credentials.ts';
import { type Receiver, startReceiver } from '../harness/receiver.ts';
import { ADMIN_KEY, TestServer, TRANSPORTS } from '../harness/server.ts';

const WARN = 40;

let server: TestServer;
let receiver: Receiver;
let connectionId: string;
beforeAll(async () => {
  server = await TestServer.start({ env: { LOG_LEVEL: 'info' } });
  receiver = await startReceiver(() => {});
  const { connections } = server.operator();
  const fields = { name: 'c', baseUrl: receiver.url, credential: bearer('t'), timeoutMs: 60_000, retries: 3 };
  connectionId = (await connections.createConnection(fields)).connection!.id;
});
afterAll(async () => {
  await server.stop();
  await receiver[Symbol.asyncDispose]();
});

type Line = { level: number; code?: string; reason?: string; message: string; method?: string };

/** What was logged since. */
const linesFrom = (index: number) => server.logLines.slice(index).map((line) => JSON.parse(line) as Line);
const loud = (index: number) => linesFrom(index).filter(({ level }) => level >= WARN);

/** A request by HTTP that is left as soon as the other side, or its caller, has heard of it. */
async function leave(path: string, method: string, when: (answer: Promise<IncomingMessage>) => Promise<unknown>) {
  const headers = { authorization: `Bearer ${ADMIN_KEY}` };
  const call = httpRequest({ host: '127.0.0.1', port: server.replica.httpPort, path, method, headers });
  const answer = new Promise<IncomingMessage>((done) => call.on('response', done));
  call.on('error', () => {});
  if (method === 'GET') call.end();
  else call.write('begun');
  await when(answer);
  call.destroy();
}

describe('A caller who leaves', () => {
  it.each(TRANSPORTS)('is nothing that the log warns of, over %s', async (transport) => {
    const index = server.logLines.length;
    const { connections, webhooks, events } = server.operator(transport);
    const asked = receiver.requests.length;
    const leaving = new AbortController();
    const { signal } = leaving;
    const calls = [
      connections.sendRequest({ connectionId }, { signal }),
      connections.testConnection({ connectionId }, { signal }),
      webhooks.sendWebhook({ url: receiver.url, mode: WebhookMode.BLOCKING, attempts: 1 }, { signal }),
      (async () => {
        for await (const _ of events.watchEvents({}, { signal }));
      })(),
    ];
    for (const call of calls) call.catch(() => {});
    // Of deliveries to a host that does not answer some wait.
    await expect.poll(() => receiver.requests.length - asked).toBeGreaterThanOrEqual(2);
    leaving.abort();
    await Promise.allSettled(calls);
    const cancelled = () => linesFrom(index).filter(({ code, message }) => code === 'CANCELLED' && message !== 'proxy');
    await expect.poll(() => cancelled().length).toBe(4);
    expect(loud(index)).toEqual([]);
  });

  it.each(['GET', 'POST'])('is nothing that the log warns of, of the proxy (%s)', async (method) => {
    const index = server.logLines.length;
    const asked = receiver.requests.length;
    const open = server.replica.app.metrics.registry.getSingleMetric('latchkey_proxy_requests_in_flight')!;
    const passing = () => expect.poll(async () => (await open.get()).values[0]?.value).toBe(1);
    const reached = () => expect.poll(() => receiver.requests.length).toBeGreaterThan(asked);
    await leave(`/proxy/${connectionId}/x`, method, method === 'GET' ? reached : passing);
    await expect.poll(() => linesFrom(index)).toMatchObject([{ message: 'proxy', code: 'CANCELLED', level: 30 }]);
  });

  it('is nothing that the log warns of, of an export', async () => {
    const index = server.logLines.length;
    await leave('/audit/export', 'GET', async (answer) => answer);
    await expect.poll(() => linesFrom(index)).toMatchObject([{ message: 'export', level: 30 }]);
  });
});
