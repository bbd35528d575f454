import { setTimeout as pause } from 'node:timers/promises';
import { create, toBinary } from '@bufbuild/protobuf';
import { Client } from 'pg';
import { GetCredentialsRequestSchema } from '../../gen/latchkey/v1/connection_service_pb.ts';
import { SendWebhookRequestSchema, WebhookMode } from '../../gen/latchkey/v1/webhook_service_pb.ts';
import { ADMIN_KEY } from '../harness/server.ts';
import { grpcCaller, load } from './load.ts';
import { BenchProcess } from './process.ts';

const PATH = '/latchkey.v1.WebhookService/SendWebhook';
const EMPTY_PATH = '/latchkey.v1.ConnectionService/GetCredentials';
const ROUNDS = 3;
const ROUND_MS = 4_000;
const out = (text: string) => process.stdout.write(`${text}\n`);

type Env = Record<string, string> & { DATABASE_MIGRATION_URL: string };
type Round = { accepted: number; delivered: number };
type Case = 'well' | 'dead';

/** Webhooks that are accepted and delivered a second, by one replica to 20 hosts that answer at once; and while 2 of the 20 never answer. */
export async function webhooksBench(env: Env): Promise<void> {
  out(
    `\nSendWebhook, fire and forget, 64 in flight, 20 hosts: medians of ${ROUNDS} rounds of ${ROUND_MS / 1000} s each, in turn`,
  );
  const receiver = await BenchProcess.ready('test/bench/receiver.ts', {});
  const server = await BenchProcess.ready(['src/cli.ts', 'serve'], { ...env, SANDBOX: 'off' });
  const empty = await BenchProcess.ready('test/bench/empty-server.ts', {});
  const nothing = Buffer.from(toBinary(GetCredentialsRequestSchema, create(GetCredentialsRequestSchema)));
  const caller = grpcCaller(empty.grpcPort, EMPTY_PATH, () => nothing, { authorization: `Bearer ${ADMIN_KEY}` });
  const emptyCalls: number[] = [];
  const database = new Client({ connectionString: env.DATABASE_MIGRATION_URL });
  // The database is stopped beneath it where the bench fails.
  database.on('error', () => {});
  await database.connect();
  const rounds: Record<Case, Round[]> = { well: [], dead: [] };
  await measure(server, receiver, database, 0);
  for (let round = 0; round < ROUNDS; round++) {
    emptyCalls.push((await load(caller.call, { ms: 2_000 })).callsPerSecond);
    rounds.well.push(await measure(server, receiver, database, 0));
    rounds.dead.push(await measure(server, receiver, database, 2));
  }
  const of = (name: Case, figure: keyof Round) => median(rounds[name].map((round) => round[figure]));
  const [all, some] = [of('well', 'delivered'), of('dead', 'delivered')];
  out(
    `  all hosts answer        ${of('well', 'accepted').toFixed(0).padStart(6)} accepted/s ${all.toFixed(0).padStart(6)} delivered/s   (to reach: 1500)`,
  );
  out(
    `  2 of 20 never answer    ${of('dead', 'accepted').toFixed(0).padStart(6)} accepted/s ${some.toFixed(0).padStart(6)} delivered/s to the others`,
  );
  const ratios = [of('dead', 'accepted') / of('well', 'accepted'), some / all, some / (0.9 * all)];
  const [accepted, delivered, share] = ratios.map((ratio) => ratio.toFixed(2));
  out(
    `  ratio: accepted ${accepted}, delivered ${delivered}; of the nine tenths that can be delivered ${share}   (to reach: 0.9)`,
  );
  out(`  an empty handler on grpc-js, in between: ${median(emptyCalls).toFixed(0)} calls/s`);
  caller.close();
  await empty.stop();
  await database.end();
  await server.stop();
  await receiver.stop();
}

/** Counts until everything is delivered that can be; what is for dead hosts is dropped then. */
async function measure(server: BenchProcess, receiver: BenchProcess, database: Client, dead: number): Promise<Round> {
  let next = 0;
  const requests = receiver.ports.map((port, i) => {
    const url = `http://127.0.0.1:${port}/${i < dead ? 'dead' : 'x'}`;
    const message = create(SendWebhookRequestSchema, { url, mode: WebhookMode.FIRE_AND_FORGET });
    return Buffer.from(toBinary(SendWebhookRequestSchema, message));
  });
  const caller = grpcCaller(server.grpcPort, PATH, () => requests[next++ % requests.length]!, {
    authorization: `Bearer ${ADMIN_KEY}`,
  });
  const count = async () => Number(await (await fetch(`http://127.0.0.1:${receiver.httpPort}/count`)).text());
  await count();
  const start = performance.now();
  const { callsPerSecond, calls } = await load(caller.call, { ms: ROUND_MS });
  caller.close();
  const deliverable = Math.floor((calls * (requests.length - dead)) / requests.length) - requests.length;
  let delivered = await count();
  while (delivered < deliverable) {
    await pause(20);
    delivered += await count();
  }
  const seconds = (performance.now() - start) / 1_000;
  await database.query(
    `update latchkey.delivery set status = 'FAILED', settle_time = now()
      where (tenant_id, id) in (select tenant_id, id from latchkey.delivery where settle_time is null for update skip locked)`,
  );
  return { accepted: callsPerSecond, delivered: delivered / seconds };
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
