import { setTimeout as pause } from 'node:timers/promises';
import { Client } from 'pg';
import { newId } from '../../src/base/id.ts';
import { bearer } from '../harness/credentials.ts';
import { Recorder } from '../harness/recorder.ts';
import { ADMIN_KEY, type Clients, clientsOf, transportTo } from '../harness/server.ts';
import { Watch } from '../harness/watching.ts';
import { endpointsBench } from './endpoints.ts';
import { BenchProcess } from './process.ts';

const WATCHERS = 100;
const CHANGES = 200;
const BACKLOG = 50_000;
const out = (text: string) => process.stdout.write(`${text}\n`);

type Env = Record<string, string> & { DATABASE_MIGRATION_URL: string };

/** From a change to who watches, and how fast a backlog is relayed, and sent to endpoints. */
export async function eventsBench(env: Env): Promise<void> {
  out('\nEvents');
  const recorder = new Recorder();
  const settings = { ...env, SANDBOX: 'off', KAFKA_BROKERS: 'recorder:1', RECORDER_URL: await recorder.listen() };
  const server = await BenchProcess.ready('test/harness/recorded-replica.ts', settings);
  const clients = clientsOf(transportTo('grpc', server, { authorization: `Bearer ${ADMIN_KEY}` }));
  await watched(clients);
  await relayed(env, recorder);
  await server.stop();
  recorder.stop();
  await endpointsBench(env);
}

async function watched(clients: Clients): Promise<void> {
  const { connection } = await clients.connections.createConnection({ name: 'watched', credential: bearer('t') });
  const connectionId = connection!.id;
  const watches = await Promise.all(Array.from({ length: WATCHERS }, () => Watch.start(clients)));
  const latencies: number[] = [];
  for (let change = 1; change <= CHANGES; change++) {
    await clients.connections.updateConnection({ connectionId, displayName: `${change}` });
    const committed = performance.now();
    const waiting = new Set(watches);
    while (waiting.size > 0) {
      await pause(1);
      for (const watch of waiting) {
        if (watch.events.length < change) continue;
        waiting.delete(watch);
        latencies.push(performance.now() - committed);
      }
    }
  }
  await Promise.all(watches.map((watch) => watch.stop()));
  latencies.sort((a, b) => a - b);
  const at = (share: number) => latencies[Math.floor(latencies.length * share)]!.toFixed(1);
  out(`  change to each of ${WATCHERS} watchers: p50 ${at(0.5)} ms, p99 ${at(0.99)} ms (to reach: 250)`);
}

async function relayed({ DATABASE_MIGRATION_URL }: Env, recorder: Recorder): Promise<void> {
  const database = new Client({ connectionString: DATABASE_MIGRATION_URL });
  await database.connect();
  const [ids, before] = [Array.from({ length: BACKLOG }, () => newId('evt')), recorder.messages.length];
  await database.query(
    `insert into latchkey.outbox (tenant_id, id, type, aggregate_type, aggregate_id, generation, payload, create_time)
     select 'default', id, 'connection.revoked', 'connection', 'conn_' || (n % 500), 1, '{"provider": "google", "provider_account_id": "a"}', now()
       from unnest($1::text[]) with ordinality as t (id, n)`,
    [ids],
  );
  await database.end();
  const start = performance.now();
  while (recorder.messages.length < before + BACKLOG) await pause(5);
  const perSecond = BACKLOG / ((performance.now() - start) / 1000);
  out(
    `  a backlog of ${BACKLOG.toLocaleString('en')}: ${perSecond.toFixed(0)} events/s put in order and relayed (to reach: 5000)`,
  );
}
