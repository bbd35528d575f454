import { Agent, request as httpRequest } from 'node:http';
import { create, toBinary } from '@bufbuild/protobuf';
import { SendRequestRequestSchema } from '../../gen/latchkey/v1/connection_service_pb.ts';
import { bearer } from '../harness/credentials.ts';
import { ADMIN_KEY, clientsOf, transportTo } from '../harness/server.ts';
import { grpcCaller, httpCaller, load, type Measured } from './load.ts';
import { BenchProcess } from './process.ts';

const ROUNDS = 9;
const ROUND_MS = 1_000;
const IN_FLIGHT = 16;
const TRANSFERS = 3;
const out = (text: string) => process.stdout.write(`${text}\n`);

/** What SendRequest and the proxy add to a call, and how fast a gibibyte goes through, against the same server called directly in the same run. */
export async function requestsBench(env: Record<string, string>): Promise<void> {
  out(
    `\nRequests to a server on loopback, ${IN_FLIGHT} in flight: medians of ${ROUNDS} rounds of ${ROUND_MS / 1000} s each`,
  );
  const target = await BenchProcess.ready('test/bench/target.ts', {});
  const server = await BenchProcess.ready(['src/cli.ts', 'serve'], { ...env, SANDBOX: 'off' });
  const { connections } = clientsOf(transportTo('grpc', server, { authorization: `Bearer ${ADMIN_KEY}` }));
  const baseUrl = `http://127.0.0.1:${target.httpPort}/v1`;
  const { connection } = await connections.createConnection({ name: 'bench', baseUrl, credential: bearer('sk-bench') });
  const connectionId = connection!.id;
  const headers = { authorization: `Bearer ${ADMIN_KEY}` };
  await smallRequests(target, server, connectionId, headers);
  await transfers(target, server, `/proxy/${connectionId}/bytes`, headers);
  await server.stop();
  await target.stop();
}

async function smallRequests(
  target: BenchProcess,
  server: BenchProcess,
  connectionId: string,
  headers: Record<string, string>,
): Promise<void> {
  const nothing = () => Buffer.alloc(0);
  const request = Buffer.from(
    toBinary(SendRequestRequestSchema, create(SendRequestRequestSchema, { connectionId, method: 'POST', path: 'x' })),
  );
  const contenders = [
    { name: 'direct', ...httpCaller(target.httpPort, '/v1/x', nothing, {}) },
    {
      name: 'SendRequest over gRPC',
      ...grpcCaller(server.grpcPort, '/latchkey.v1.ConnectionService/SendRequest', () => request, headers),
    },
    { name: 'proxy', ...httpCaller(server.httpPort, `/proxy/${connectionId}/x`, nothing, headers) },
  ];
  for (const { call } of contenders) await load(call, { inFlight: IN_FLIGHT, ms: 2_000 });
  const rounds: Measured[][] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const measured: Measured[] = [];
    for (const { call } of contenders) measured.push(await load(call, { inFlight: IN_FLIGHT, ms: ROUND_MS }));
    rounds.push(measured);
  }
  for (const [index, { name, close }] of contenders.entries()) {
    const of = (figure: keyof Measured) => median(rounds.map((round) => round[index]![figure]));
    const ratio = median(rounds.map((round) => round[index]!.callsPerSecond / round[0]!.callsPerSecond));
    const added = median(rounds.map((round) => round[index]!.p50Ms - round[0]!.p50Ms));
    out(
      `  ${name.padEnd(24)} ${of('callsPerSecond').toFixed(0).padStart(6)} calls/s   p50 ${of('p50Ms').toFixed(2)} ms   p99 ${of('p99Ms').toFixed(2)} ms   ratio ${ratio.toFixed(2)}   added p50 ${added.toFixed(2)} ms${index ? ' (to reach: 1)' : ''}`,
    );
    close();
  }
  out(`  one at a time, p50: ${await alone(target, server, connectionId, headers, request)}`);
}

/** Without others in flight a latency is that of the work, not of the queue before the two cores. */
async function alone(
  target: BenchProcess,
  server: BenchProcess,
  connectionId: string,
  headers: Record<string, string>,
  request: Buffer,
): Promise<string> {
  const nothing = () => Buffer.alloc(0);
  const callers = {
    direct: httpCaller(target.httpPort, '/v1/x', nothing, {}),
    SendRequest: grpcCaller(server.grpcPort, '/latchkey.v1.ConnectionService/SendRequest', () => request, headers),
    proxy: httpCaller(server.httpPort, `/proxy/${connectionId}/x`, nothing, headers),
  };
  const figures: string[] = [];
  for (const [name, { call, close }] of Object.entries(callers)) {
    const { p50Ms } = await load(call, { inFlight: 1, ms: 2_000 });
    figures.push(`${name} ${p50Ms.toFixed(2)} ms`);
    close();
  }
  return figures.join(', ');
}

async function transfers(
  target: BenchProcess,
  server: BenchProcess,
  path: string,
  headers: Record<string, string>,
): Promise<void> {
  const before = server.rssMb();
  const ratios: number[] = [];
  const rates: number[] = [];
  for (let turn = 0; turn < TRANSFERS; turn++) {
    const direct = await transfer(target.httpPort, '/v1/bytes', {});
    const proxied = await transfer(server.httpPort, path, headers);
    rates.push(proxied);
    ratios.push(proxied / direct);
  }
  out(
    `  1 GiB through the proxy: ${median(rates).toFixed(0)} MB/s, ratio to direct ${median(ratios).toFixed(2)} (to reach: 0.6); resident memory ${before} MB before, ${server.rssMb()} MB after`,
  );
}

/** MB a second. */
function transfer(port: number, path: string, headers: Record<string, string>): Promise<number> {
  const startedAt = performance.now();
  return new Promise((done, fail) => {
    const agent = new Agent();
    const sent = httpRequest({ agent, host: '127.0.0.1', port, path, headers }, (response) => {
      let bytes = 0;
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
      });
      response.on('end', () => done(bytes / 1e3 / (performance.now() - startedAt)));
      response.on('error', fail);
    });
    sent.on('error', fail).end();
  });
}

function median(values: number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}
