import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { sendMessage, signedHeaders, signingSecret } from '../harness/inbound.ts';
import { ServerProcess } from '../harness/process.ts';
import { ADMIN_KEY, clientsOf, newMasterKey, testEnv, transportTo } from '../harness/server.ts';
import { TcpProxy } from '../harness/tcp-proxy.ts';

const masterKey = newMasterKey();
const secret = signingSecret();
const WITHIN = { timeout: 10_000, interval: 25 };

let database: TestDatabase;
let proxy: TcpProxy;
let one: ServerProcess;
let two: ServerProcess;

/** Two replicas on one database; the second reaches it through a way that can be cut. */
beforeAll(async () => {
  database = await createTestDatabase();
  const { hostname, port } = new URL(database.url);
  proxy = await TcpProxy.to(hostname, Number(port));
  const throughProxy = { url: proxy.through(database.url), migrationUrl: proxy.through(database.migrationUrl) };
  [one, two] = await Promise.all([
    ServerProcess.ready(testEnv(database, masterKey)),
    ServerProcess.ready(testEnv(throughProxy, masterKey)),
  ]);
});
afterAll(async () => {
  proxy.mend();
  await Promise.all([one.stop('SIGKILL'), two.stop('SIGKILL')]);
  await proxy.stop();
  await database.drop();
});

const webhooksAt = (server: ServerProcess) =>
  clientsOf(transportTo('grpc', server, { authorization: `Bearer ${ADMIN_KEY}` })).webhooks;

async function newEndpoint(name: string): Promise<string> {
  const request = { name, signingSecrets: { secrets: [secret] }, maxPerMinute: 600_000 };
  return (await webhooksAt(one).createInboundEndpoint(request)).endpoint!.id;
}

const send = (server: ServerProcess, endpointId: string, id: string) =>
  sendMessage(server.httpPort, endpointId, signedHeaders(secret, id, `{"id":"${id}"}`), `{"id":"${id}"}`);

const stored = (endpointId: string) =>
  database.sql<{ sender_id: string; id: string }>(
    'select sender_id, id from latchkey.inbound_message where endpoint_id = $1',
    [endpointId],
  );

const told = (endpointId: string) =>
  database.sql<{ id: string }>(
    `select payload ->> 'message_id' as id from latchkey.outbox where type = 'inbound_message.received' and payload ->> 'endpoint_id' = $1`,
    [endpointId],
  );

describe('Inbound webhooks on two replicas', () => {
  it('keep one of two that arrive at both at once, a hundred times', async () => {
    const endpointId = await newEndpoint('at once');
    for (let round = 0; round < 100; round++) {
      const answers = await Promise.all([one, two, one, two].map((server) => send(server, endpointId, `m${round}`)));
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 200, 202]);
    }
    expect(await stored(endpointId)).toHaveLength(100);
    expect(await told(endpointId)).toHaveLength(100);
  });

  it('hear of a changed secret, a disabled and a deleted endpoint', async () => {
    const endpointId = await newEndpoint('heard');
    let n = 0;
    const status = async () => (await send(two, endpointId, `h${++n}`)).status;
    expect(await status()).toBe(202);
    await webhooksAt(one).updateInboundEndpoint({ endpointId, signingSecrets: { secrets: [signingSecret()] } });
    await expect.poll(status, WITHIN).toBe(401);
    await webhooksAt(one).updateInboundEndpoint({ endpointId, signingSecrets: { secrets: [secret] } });
    await expect.poll(status, WITHIN).toBe(202);
    await webhooksAt(one).updateInboundEndpoint({ endpointId, enabled: false });
    expect(await status()).toBe(404);
    await webhooksAt(one).updateInboundEndpoint({ endpointId, enabled: true });
    await expect.poll(status, WITHIN).toBe(202);
    await webhooksAt(one).deleteInboundEndpoint({ endpointId });
    expect(await status()).toBe(404);
  });

  it('answer 503 with Retry-After while the database is away, and acknowledge nothing that is not stored', async () => {
    const endpointId = await newEndpoint('away');
    expect((await send(two, endpointId, 'before')).status).toBe(202);
    proxy.cut();
    try {
      const answer = await send(two, endpointId, 'away');
      expect(answer.status).toBe(503);
      expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0);
    } finally {
      proxy.mend();
    }
    await expect.poll(async () => (await send(two, endpointId, 'away')).status, WITHIN).toBeLessThan(300);
    expect((await stored(endpointId)).map(({ sender_id }) => sender_id).sort()).toEqual(['away', 'before']);
  });

  it('tell the sender of an acknowledgement that was lost on the way from the database that it is stored', async () => {
    const endpointId = await newEndpoint('lost');
    expect((await send(two, endpointId, 'first')).status).toBe(202);
    const losing = proxy.loseAnswerTo('receiveInboundMessage');
    const answer = await send(two, endpointId, 'lost');
    await losing;
    expect(answer.status).toBe(503);
    expect((await send(one, endpointId, 'lost')).status).toBe(200);
    expect(await stored(endpointId)).toHaveLength(2);
    expect(await told(endpointId)).toHaveLength(2);
  });

  it('lose nothing that was acknowledged when a replica is killed, and keep nothing twice', async () => {
    const endpointId = await newEndpoint('killed');
    const acknowledged = new Set<string>();
    let n = 0;
    for (let kill = 0; kill < 5; kill++) {
      const victim = await ServerProcess.ready(testEnv(database, masterKey));
      const start = acknowledged.size;
      let killed = false;
      const sender = async () => {
        while (!killed) {
          const id = `k${++n}`;
          // Whoever is not answered sends again, elsewhere.
          const answer = (await send(victim, endpointId, id).catch(() => null)) ?? (await send(one, endpointId, id));
          expect([200, 202]).toContain(answer.status);
          acknowledged.add(id);
        }
      };
      const senders = Array.from({ length: 16 }, sender);
      await expect.poll(() => acknowledged.size - start, { timeout: 20_000, interval: 5 }).toBeGreaterThan(100);
      await victim.stop('SIGKILL');
      killed = true;
      await Promise.all(senders);
    }
    const rows = await stored(endpointId);
    expect(rows.map(({ sender_id }) => sender_id).sort()).toEqual([...acknowledged].sort());
    const ids = (await told(endpointId)).map(({ id }) => id);
    expect(ids.sort()).toEqual(rows.map(({ id }) => id).sort());
  });
});

describe('An inbound endpoint', () => {
  it('does not wait for ever for a body, and lets nobody take all of it', async () => {
    const endpointId = await newEndpoint('slow');
    const open = Array.from({ length: 64 }, () => {
      const leaving = new AbortController();
      const body = new ReadableStream({ start: (controller) => controller.enqueue(new Uint8Array(10)) });
      const init = { method: 'POST', body, duplex: 'half', signal: leaving.signal } as RequestInit;
      const answer = fetch(`http://127.0.0.1:${one.httpPort}/webhooks/${endpointId}`, init).then(
        ({ status }) => status,
        () => 0,
      );
      return { answer, leave: () => leaving.abort() };
    });
    await expect.poll(async () => (await send(one, endpointId, 'crowded')).status, WITHIN).toBe(503);
    // Another endpoint is not concerned.
    expect((await send(one, await newEndpoint('beside'), 'free')).status).toBe(202);
    for (const { leave } of open.slice(1)) leave();
    await expect.poll(async () => (await send(one, endpointId, 'again')).status, WITHIN).toBeLessThan(300);
    expect(await open[0]!.answer).toBe(408);
  });
});
