import { create, toBinary } from '@bufbuild/protobuf';
import { GetCredentialsRequestSchema } from '../../gen/latchkey/v1/connection_service_pb.ts';
import { bearer } from '../harness/credentials.ts';
import { ADMIN_KEY, type Clients } from '../harness/server.ts';
import { grpcCaller, load } from './load.ts';
import { BenchProcess } from './process.ts';
import { clientsTo, importTokens, integration, lossWindowP99Ms } from './refreshing.ts';

const CALM = 300;
const STORMS = 200;
/** Callers at each replica who want the same token. */
const CALLERS = 5;
const SLOW = 40;
/** Imported at once. */
const BATCH = 20;
const ROUNDS = 7;
const ROUND_MS = 900;
const PATH = '/latchkey.v1.ConnectionService/GetCredentials';
const out = (text: string) => process.stdout.write(`${text}\n`);

/** What refreshes cost who waits for them, and who asks for something else. */
export async function refreshDelaysBench(env: Record<string, string>): Promise<void> {
  out('\nDelays about refreshes');
  const endpoint = await BenchProcess.ready('test/bench/token-endpoint.ts', {});
  const quiet = { ...env, SANDBOX: 'off', REFRESH_SWEEP_MS: '60000' };
  const servers = [
    await BenchProcess.ready(['src/cli.ts', 'serve'], quiet),
    await BenchProcess.ready(['src/cli.ts', 'serve'], quiet),
  ];
  await calm(servers[0]!, endpoint);
  await followers(servers, endpoint);
  await unrelated(servers[0]!, endpoint);
  for (const server of [...servers, endpoint]) await server.stop();
}

async function calm(server: BenchProcess, endpoint: BenchProcess): Promise<void> {
  const clients = clientsTo(server);
  for (const connectionId of await imported(clients, 'calm', endpoint, '/token', CALM))
    await clients.connections.getCredentials({ connectionId });
  out(`  one refresh at a time, answer parsed to stored: p99 <= ${await lossWindowP99Ms(server)} ms (to reach: 10)`);
}

/** All ask at once at both replicas. The first to be answered is who refreshed, or sits beside it. */
async function followers(servers: BenchProcess[], endpoint: BenchProcess): Promise<void> {
  const clients = servers.map(clientsTo);
  const [beside, across]: [number[], number[]] = [[], []];
  for (const connectionId of await imported(clients[0]!, 'storm', endpoint, '/token', STORMS)) {
    const asked = clients.map(({ connections }) =>
      Array.from({ length: CALLERS }, () => connections.getCredentials({ connectionId }).then(() => performance.now())),
    );
    const answered = await Promise.all(asked.map((own) => Promise.all(own)));
    const first = Math.min(...answered.flat());
    for (const own of answered) (own.includes(first) ? beside : across).push(...own.map((at) => at - first));
  }
  out(
    `  after the first caller has a token, the others have it: in the same process p99 ${p99(beside)} ms (to reach: 10), at another replica p99 ${p99(across)} ms (to reach: 150)`,
  );
}

async function unrelated(server: BenchProcess, endpoint: BenchProcess): Promise<void> {
  const clients = clientsTo(server);
  const ids = await imported(clients, 'slow', endpoint, '/slow', SLOW * ROUNDS);
  const { connection } = await clients.connections.createConnection({ name: 'unrelated', credential: bearer('sk') });
  const request = Buffer.from(
    toBinary(GetCredentialsRequestSchema, create(GetCredentialsRequestSchema, { connectionId: connection!.id })),
  );
  const caller = grpcCaller(server.grpcPort, PATH, () => request, { authorization: `Bearer ${ADMIN_KEY}` });
  await load(caller.call, { inFlight: 8, ms: 2_000 });
  const rounds: { quiet: number; busy: number }[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const quiet = await load(caller.call, { inFlight: 8, ms: ROUND_MS });
    const own = ids.slice(round * SLOW, (round + 1) * SLOW);
    const refreshing = own.map((connectionId) => clients.connections.getCredentials({ connectionId }));
    const busy = await load(caller.call, { inFlight: 8, ms: ROUND_MS });
    await Promise.all(refreshing);
    rounds.push({ quiet: quiet.p99Ms, busy: busy.p99Ms });
  }
  caller.close();
  const ratios = rounds.map(({ quiet, busy }) => busy / quiet).sort((a, b) => a - b);
  const shown = rounds.map(({ quiet, busy }) => `${quiet.toFixed(1)}/${busy.toFixed(1)}`).join(', ');
  out(
    `  GetCredentials of another connection while ${SLOW} refreshes of 1 s are under way: p99 ${ratios[Math.floor(ROUNDS / 2)]!.toFixed(2)} of quiet, median of ${ROUNDS} rounds (to reach: at most 1.5); ms, quiet/busy: ${shown}`,
  );
}

async function imported(
  clients: Clients,
  name: string,
  endpoint: BenchProcess,
  path: string,
  count: number,
): Promise<string[]> {
  const integrationId = await integration(clients, name, endpoint, path);
  const ids: string[] = [];
  while (ids.length < count) {
    const batch = Array.from({ length: BATCH }, (_, i) => `${name}-${ids.length + i}`);
    ids.push(...(await Promise.all(batch.map((own) => importTokens(clients, integrationId, own)))));
  }
  return ids;
}

function p99(values: number[]): string {
  return values.sort((a, b) => a - b)[Math.floor(values.length * 0.99)]!.toFixed(1);
}
