import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import { pino } from 'pino';
import {
  GetCredentialsRequestSchema,
  ListConnectionsRequestSchema,
} from '../../gen/latchkey/v1/connection_service_pb.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded.ts';
import { migrate } from '../../src/db/migrate.ts';
import { bearer } from '../harness/credentials.ts';
import { ADMIN_KEY, type Clients, clientsOf, transportTo } from '../harness/server.ts';
import { eventsBench } from './events.ts';
import { grpcCaller, httpCaller, load, type Measured } from './load.ts';
import { BenchProcess } from './process.ts';
import { refreshBench } from './refresh.ts';
import { refreshDelaysBench } from './refresh-delays.ts';
import { requestsBench } from './requests.ts';
import { seedConnections } from './seed.ts';
import { webhooksBench } from './webhooks.ts';

const CACHED = 100_000;
const MANY_ROWS = 1_000_000;
const FEW_ROWS = 1_000;
/** That the calls of the cold server are for in turn, since those for one connection would share their readings. */
const COLD_CONNECTIONS = 1_000;
const ROUNDS = 11;
const ROUND_MS = 1_000;
const PATH = '/latchkey.v1.ConnectionService';
const out = (text: string) => process.stdout.write(`${text}\n`);

type Env = {
  LATCHKEY_MASTER_KEY: string;
  LATCHKEY_ADMIN_KEY: string;
  DATABASE_URL: string;
  DATABASE_MIGRATION_URL: string;
  CREDENTIAL_CACHE_ENTRIES: string;
};

function seed(env: Env, tenantId: string, count: number): Promise<string[]> {
  const { DATABASE_URL: url, DATABASE_MIGRATION_URL: migrationUrl, LATCHKEY_MASTER_KEY: masterKey } = env;
  return seedConnections({ url, migrationUrl, masterKey, tenantId, count });
}

/** Server, baseline and load as processes of their own on one machine; figures of one run are compared with one another alone. */
async function main(): Promise<void> {
  const dir = join(tmpdir(), `latchkey-bench-${process.pid}`);
  mkdirSync(dir, { mode: 0o755 });
  const postgres = await startEmbeddedPostgres(join(dir, 'data'));
  try {
    await migrate(postgres, pino({ level: 'silent' }));
    const env = {
      LATCHKEY_MASTER_KEY: randomBytes(32).toString('base64'),
      LATCHKEY_ADMIN_KEY: ADMIN_KEY,
      DATABASE_URL: postgres.url,
      DATABASE_MIGRATION_URL: postgres.migrationUrl,
      CREDENTIAL_CACHE_ENTRIES: String(CACHED),
    };
    const benches: Record<string, (env: Env) => Promise<void>> = {
      credentials: credentialsBench,
      cache: cacheBench,
      list: listBench,
      refresh: refreshBench,
      requests: requestsBench,
      webhooks: webhooksBench,
      delays: refreshDelaysBench,
      events: eventsBench,
    };
    const chosen = process.argv.slice(2);
    for (const [name, bench] of Object.entries(benches))
      if (chosen.length === 0 || chosen.includes(name)) await bench(env);
  } finally {
    await postgres.stop();
    rmSync(dir, { recursive: true, force: true });
  }
}

type Contender = { name: string; call: () => Promise<void>; close: () => void };

/** All servers stand side by side, and each round loads one after the other, so that a slower moment of the machine is everyone's. */
async function credentialsBench(env: Env): Promise<void> {
  out(`GetCredentials, 64 in flight: medians of ${ROUNDS} rounds of ${ROUND_MS / 1000} s each, after warming`);
  const empty = await BenchProcess.ready('test/bench/empty-server.ts', {});
  const warm = await BenchProcess.ready(['src/cli.ts', 'serve'], env);
  const cold = await BenchProcess.ready(['src/cli.ts', 'serve'], { ...env, CREDENTIAL_CACHE_ENTRIES: '0' });
  const request = await ownRequest(warm);
  const coldRequests = (await seed(env, 'default', COLD_CONNECTIONS)).map(requestFor);
  let next = 0;
  const coldRequest = () => coldRequests[next++ % COLD_CONNECTIONS]!;
  const headers = { authorization: `Bearer ${ADMIN_KEY}` };
  const path = `${PATH}/GetCredentials`;
  const contenders: Contender[] = [
    { name: 'empty handler on grpc-js', ...grpcCaller(empty.grpcPort, path, () => request, headers) },
    { name: 'gRPC, warm', ...grpcCaller(warm.grpcPort, path, () => request, headers) },
    { name: 'gRPC, cold (credential cache off)', ...grpcCaller(cold.grpcPort, path, coldRequest, headers) },
    {
      name: 'Connect, warm',
      ...httpCaller(warm.httpPort, path, () => request, { ...headers, 'content-type': 'application/proto' }),
    },
  ];
  for (const { call } of contenders) await load(call, { ms: 3_000 });
  const rounds: Measured[][] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const measured: Measured[] = [];
    for (const { call } of contenders) measured.push(await load(call, { ms: ROUND_MS }));
    rounds.push(measured);
  }
  for (const [index, { name, close }] of contenders.entries()) {
    const own = rounds.map((round) => round[index]!);
    row(name, own, median(rounds.map((round) => round[index]!.callsPerSecond / round[0]!.callsPerSecond)));
    close();
  }
  for (const server of [empty, warm, cold]) await server.stop();
}

async function cacheBench(env: Env): Promise<void> {
  const server = await BenchProcess.ready(['src/cli.ts', 'serve'], env);
  const idle = server.rssMb();
  const ids = await seed(env, 'default', CACHED);
  let next = 0;
  const request = () => requestFor(ids[next++ % ids.length]!);
  const caller = grpcCaller(server.grpcPort, `${PATH}/GetCredentials`, request, {
    authorization: `Bearer ${ADMIN_KEY}`,
  });
  for (let i = 0; i < ids.length; i += 500) await Promise.all(ids.slice(i, i + 500).map(() => caller.call()));
  caller.close();
  const entries = /latchkey_cache_entries\{cache="credentials"\} (\d+)/.exec(
    await (await fetch(`http://127.0.0.1:${server.httpPort}/metrics`)).text(),
  )?.[1];
  out(`\nResident memory: idle ${idle} MB; with ${entries} cached credentials ${server.rssMb()} MB`);
  await server.stop();
}

async function listBench(env: Env): Promise<void> {
  out('\nListConnections, pages of 50 from all over the list, 4 in flight');
  const server = await BenchProcess.ready(['src/cli.ts', 'serve'], env);
  const { access } = clientsTo(server, ADMIN_KEY);
  const measured: Measured[] = [];
  for (const rows of [FEW_ROWS, MANY_ROWS]) {
    const tenantId = `list-${rows}`;
    await access.createTenant({ tenantId });
    const { secret } = await access.createApiKey({ displayName: 'bench', scopes: ['*'], tenantId });
    await seed(env, tenantId, rows);
    const tokens = await pageTokens(server, secret, rows);
    let next = 0;
    const request = () =>
      Buffer.from(
        toBinary(
          ListConnectionsRequestSchema,
          create(ListConnectionsRequestSchema, { pageSize: 50, pageToken: tokens[next++ % tokens.length]! }),
        ),
      );
    const caller = grpcCaller(server.grpcPort, `${PATH}/ListConnections`, request, {
      authorization: `Bearer ${secret}`,
    });
    measured.push(await warmed(caller.call, 4));
    caller.close();
    out(
      `  ${rows.toLocaleString('en').padStart(9)} rows   p50 ${measured.at(-1)!.p50Ms.toFixed(2)} ms   p99 ${measured.at(-1)!.p99Ms.toFixed(2)} ms`,
    );
  }
  out(`  ratio of the medians ${(measured[1]!.p50Ms / measured[0]!.p50Ms).toFixed(2)}   (to reach: at most 1.5)`);
  await server.stop();
}

/** Tokens of pages that are spread over the list. */
async function pageTokens(server: BenchProcess, key: string, rows: number): Promise<string[]> {
  const { connections } = clientsTo(server, key);
  const tokens: string[] = [];
  const steps = 8;
  for (let step = 0; step < steps; step++) {
    const skip = Math.min(10_000, Math.floor((rows / (steps + 1)) * step));
    tokens.push((await connections.listConnections({ pageSize: 50, skip })).nextPageToken);
  }
  return tokens.filter(Boolean);
}

async function ownRequest(server: BenchProcess): Promise<Buffer> {
  const { connections } = clientsTo(server, ADMIN_KEY);
  const { connection } = await connections.createConnection({
    name: 'bench',
    credential: bearer('sk_live_0123456789'),
  });
  return requestFor(connection!.id);
}

function requestFor(connectionId: string): Buffer {
  return Buffer.from(toBinary(GetCredentialsRequestSchema, create(GetCredentialsRequestSchema, { connectionId })));
}

async function warmed(call: () => Promise<void>, inFlight = 64): Promise<Measured> {
  await load(call, { inFlight, ms: 2_000 });
  return load(call, { inFlight });
}

function clientsTo(server: BenchProcess, key: string): Clients {
  return clientsOf(transportTo('grpc', server, { authorization: `Bearer ${key}` }));
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

function row(name: string, measured: Measured[], ratio: number): void {
  const of = (figure: keyof Measured) => median(measured.map((round) => round[figure]));
  const figures = `${of('callsPerSecond').toFixed(0).padStart(7)} calls/s   p50 ${of('p50Ms').toFixed(2)} ms   p99 ${of('p99Ms').toFixed(2)} ms`;
  out(`  ${name.padEnd(36)} ${figures}   ratio ${ratio.toFixed(2)}`);
}

await main();
