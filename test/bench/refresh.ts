import { setTimeout as pause } from 'node:timers/promises';
import { create, toBinary } from '@bufbuild/protobuf';
import { Client } from 'pg';
import { GetCredentialsRequestSchema } from '../../gen/latchkey/v1/connection_service_pb.ts';
import { bearer, secret } from '../harness/credentials.ts';
import { ADMIN_KEY, type Clients, clientsOf, transportTo } from '../harness/server.ts';
import { grpcCaller, load } from './load.ts';
import { BenchProcess } from './process.ts';

const DUE = 10_000;
const SLOW = 40;
const PATH = '/latchkey.v1.ConnectionService/GetCredentials';
const out = (text: string) => process.stdout.write(`${text}\n`);

type Env = Record<string, string> & { DATABASE_MIGRATION_URL: string };

/** Refreshes a second against an endpoint that answers in 50 ms, and what refreshes of a second do to who asks for something else. */
export async function refreshBench(env: Env): Promise<void> {
  out(`\n${DUE.toLocaleString('en')} refreshes that are due, a token endpoint that answers in 50 ms`);
  const endpoint = await BenchProcess.ready('test/bench/token-endpoint.ts', {});
  const database = new Client({ connectionString: env.DATABASE_MIGRATION_URL });
  await database.connect();
  const quiet = { ...env, SANDBOX: 'off', REFRESH_SWEEP_MS: '60000' };
  const first = await BenchProcess.ready('src/main.ts', quiet);
  const clients = clientsOf(transportTo('grpc', first, { authorization: `Bearer ${ADMIN_KEY}` }));
  const fast = await integration(clients, 'fast', `http://127.0.0.1:${endpoint.httpPort}/token`);
  for (let i = 0; i < DUE; i += 100)
    await Promise.all(Array.from({ length: 100 }, (_, j) => importTokens(clients, fast, `fast-${i + j}`)));
  await unrelated(clients, first, endpoint);
  await first.stop();
  let baseline = 0;
  for (const replicas of [1, 2]) {
    const rate = await sweep(database, { ...env, SANDBOX: 'off', REFRESH_SWEEP_MS: '200' }, replicas);
    baseline ||= rate.perSecond;
    out(
      `  ${replicas} ${replicas === 1 ? 'replica ' : 'replicas'} ${rate.perSecond.toFixed(0).padStart(6)} refreshes/s   ratio ${(rate.perSecond / baseline).toFixed(2)}   ${rate.transactions.toFixed(1)} database transactions each, answer parsed to stored p99 <= ${rate.lossWindowMs} ms (to reach: 10)`,
    );
  }
  await database.end();
  await endpoint.stop();
}

async function sweep(database: Client, env: Env, replicas: number) {
  const servers: BenchProcess[] = [];
  for (let i = 0; i < replicas; i++) servers.push(await BenchProcess.ready('src/main.ts', env));
  const transactions = async () => {
    await database.query('select pg_stat_clear_snapshot(), pg_stat_force_next_flush()');
    const { rows } = await database.query(
      'select xact_commit from pg_stat_database where datname = current_database()',
    );
    return Number(rows[0].xact_commit);
  };
  const [before, start] = [await transactions(), performance.now()];
  await database.query(`update latchkey.connection set last_used_at = now() where name like 'fast-%'`);
  await database.query(
    `update latchkey.credential k set refresh_due = now(), refresh_time = null, refresh_not_before = null from latchkey.connection c
     where c.tenant_id = k.tenant_id and c.id = k.connection_id and c.name like 'fast-%'`,
  );
  for (let left = DUE; left > 0; await pause(100)) {
    const { rows } = await database.query(
      `select count(*) as left from latchkey.credential k join latchkey.connection c on c.tenant_id = k.tenant_id and c.id = k.connection_id
       where c.name like 'fast-%' and k.refresh_time is null`,
    );
    left = Number(rows[0].left);
  }
  const seconds = (performance.now() - start) / 1000;
  const lossWindowMs = Math.max(...(await Promise.all(servers.map(lossWindowP99Ms))));
  for (const server of servers) await server.stop();
  return { perSecond: DUE / seconds, lossWindowMs, transactions: ((await transactions()) - before) / DUE };
}

/** Upper end of the bucket of the histogram that the 99th of 100 lies in. */
async function lossWindowP99Ms({ httpPort }: BenchProcess): Promise<number> {
  const metrics = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
  const buckets = metrics.matchAll(/^latchkey_token_refresh_loss_window_seconds_bucket\{le="([^"]+)"\} (\d+)$/gm);
  const counts = [...buckets].map(([, le, count]) => ({ le: Number(le?.replace('+', '')), count: Number(count) }));
  const all = counts.at(-1)?.count ?? 0;
  return (counts.find(({ count }) => count >= 0.99 * all)?.le ?? 0) * 1000;
}

async function unrelated(clients: Clients, server: BenchProcess, endpoint: BenchProcess): Promise<void> {
  const slow = await integration(clients, 'slow', `http://127.0.0.1:${endpoint.httpPort}/slow`);
  const ids = await Promise.all(Array.from({ length: SLOW }, (_, i) => importTokens(clients, slow, `slow-${i}`)));
  const { connection } = await clients.connections.createConnection({ name: 'unrelated', credential: bearer('sk') });
  const request = Buffer.from(
    toBinary(GetCredentialsRequestSchema, create(GetCredentialsRequestSchema, { connectionId: connection!.id })),
  );
  const caller = grpcCaller(server.grpcPort, PATH, () => request, { authorization: `Bearer ${ADMIN_KEY}` });
  await load(caller.call, { inFlight: 8, ms: 2_000 });
  const quiet = await load(caller.call, { inFlight: 8, ms: 900 });
  const refreshing = ids.map((connectionId) => clients.connections.getCredentials({ connectionId }));
  const busy = await load(caller.call, { inFlight: 8, ms: 900 });
  await Promise.all(refreshing);
  caller.close();
  out(
    `  GetCredentials of another connection, p99: quiet ${quiet.p99Ms.toFixed(2)} ms, with ${SLOW} refreshes of 1 s under way ${busy.p99Ms.toFixed(2)} ms, ratio ${(busy.p99Ms / quiet.p99Ms).toFixed(2)} (to reach: at most 1.5)`,
  );
}

async function integration({ integrations }: Clients, name: string, tokenUrl: string): Promise<string> {
  const authorizationUrl = 'http://127.0.0.1/authorize';
  await integrations.createProvider({ definition: { name, displayName: name, oauth: { tokenUrl, authorizationUrl } } });
  const { integration: made } = await integrations.createIntegration({ provider: name });
  await integrations.setIntegrationCredentials({ integrationId: made!.id, clientId: 'c', clientSecrets: ['s'] });
  return made!.id;
}

async function importTokens({ connections }: Clients, integrationId: string, name: string): Promise<string> {
  const value = { accessToken: secret('at'), refreshToken: secret('rt'), expireTime: { seconds: 1n, nanos: 0 } };
  const credential = { kind: { case: 'oauth2' as const, value } };
  return (await connections.createConnection({ name, integrationId, credential })).connection!.id;
}
