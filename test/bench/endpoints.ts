import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'pg';
import { newId } from '../../src/base/id.ts';
import { ADMIN_KEY, clientsOf, transportTo } from '../harness/server.ts';
import { httpCaller, load } from './load.ts';
import { BenchProcess } from './process.ts';

/** Deliveries of a round, whatever the number of endpoints. */
const DELIVERIES = 4_000;
const ENDPOINTS = [1, 20];
const OWN_MS = 2_000;
const EVENT = { type: 'connection.updated', timestamp: '', data: { payload: { provider: 'google' } } };
const BODY = Buffer.from(JSON.stringify(EVENT));
const out = (text: string) => process.stdout.write(`${text}\n`);

type Env = Record<string, string> & { DATABASE_MIGRATION_URL: string };

/** A backlog of events to endpoints, beside what their receiver takes from a client that does nothing else. */
export async function endpointsBench(env: Env): Promise<void> {
  const receiver = await BenchProcess.ready('test/bench/receiver.ts', {});
  const server = await BenchProcess.ready(['src/cli.ts', 'serve'], { ...env, SANDBOX: 'off' });
  const { webhooks } = clientsOf(transportTo('grpc', server, { authorization: `Bearer ${ADMIN_KEY}` }));
  const database = new Client({ connectionString: env.DATABASE_MIGRATION_URL });
  // The database is stopped beneath it where the bench fails.
  database.on('error', () => {});
  await database.connect();
  const count = async () => Number(await (await fetch(`http://127.0.0.1:${receiver.httpPort}/count`)).text());
  for (const endpoints of ENDPOINTS) {
    const ids: string[] = [];
    for (const port of receiver.ports.slice(0, endpoints)) {
      const eventTypes = { types: ['connection.updated'] };
      const { endpoint } = await webhooks.createEndpoint({ url: `http://127.0.0.1:${port}/`, eventTypes });
      ids.push(endpoint!.id);
    }
    const own = await ownRate(receiver.ports.slice(0, endpoints));
    await count();
    const start = performance.now();
    await addEvents(database, DELIVERIES / endpoints);
    for (let arrived = 0; arrived < DELIVERIES; arrived += await count()) await pause(20);
    const perSecond = DELIVERIES / ((performance.now() - start) / 1_000);
    const [events, share] = [(perSecond / endpoints).toFixed(0), (perSecond / own).toFixed(2)];
    out(
      `  ${`${endpoints} endpoints`.padEnd(13)} ${events.padStart(5)} events/s, ${perSecond.toFixed(0)} deliveries/s; the receiver alone takes ${own.toFixed(0)}/s (${share})`,
    );
    for (const endpointId of ids) await webhooks.deleteEndpoint({ endpointId });
  }
  await database.end();
  await server.stop();
  await receiver.stop();
}

async function ownRate(ports: readonly number[]): Promise<number> {
  const callers = ports.map((port) => httpCaller(port, '/', () => BODY, { 'content-type': 'application/json' }));
  let next = 0;
  const { callsPerSecond } = await load(() => callers[next++ % callers.length]!.call(), { ms: OWN_MS });
  for (const { close } of callers) close();
  return callsPerSecond;
}

async function addEvents(database: Client, count: number): Promise<void> {
  await database.query(
    `insert into latchkey.outbox (tenant_id, id, type, aggregate_type, aggregate_id, generation, payload, create_time)
     select 'default', id, 'connection.updated', 'connection', 'conn_' || (n % 500), 1, '{"provider": "google"}', now()
       from unnest($1::text[]) with ordinality as t (id, n)`,
    [Array.from({ length: count }, () => newId('evt'))],
  );
}
