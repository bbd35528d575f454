import type { DescMethod } from '@bufbuild/protobuf';
import { fromJson, toBinary } from '@bufbuild/protobuf';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import fc from 'fast-check';
import { services } from '../../src/handlers/index.ts';
import type { TestDatabase } from './database.ts';
import { bent, spoil, spoilt } from './fuzz-bends.ts';
import { Harvest, type Json, requestOf } from './fuzz-values.ts';
import { ServerProcess } from './process.ts';
import { ADMIN_KEY, newMasterKey, testEnv } from './server.ts';

/** What a call came to. `code` is gRPC's, in upper case. */
type Outcome = { code: string; detail: string };
export type Turn = { delayMs: number; busyMs: number };
export type FuzzReport = { calls: number; codes: Map<string, number>; longestTurn: Turn; log: string };

const WATCHED = [process.execPath, '--import', './test/harness/loop-watch.ts'];
const AT_ONCE = 4;
const STREAM_MS = 150;
const CALL_MS = 30_000;
const REFUSED = new Set(['INTERNAL', 'UNKNOWN', 'DATA_LOSS']);
const CODES = [
  ...['OK', 'CANCELLED', 'UNKNOWN', 'INVALID_ARGUMENT', 'DEADLINE_EXCEEDED', 'NOT_FOUND', 'ALREADY_EXISTS'],
  ...['PERMISSION_DENIED', 'RESOURCE_EXHAUSTED', 'FAILED_PRECONDITION', 'ABORTED', 'OUT_OF_RANGE', 'UNIMPLEMENTED'],
  ...['INTERNAL', 'UNAVAILABLE', 'DATA_LOSS', 'UNAUTHENTICATED'],
];
const utf8 = new TextEncoder();

/**
 * Calls every method over Connect's JSON and gRPC's protobuf with messages that fit, and that were bent and spoilt, so many each. Throws where a call ends
 * as none may, with the smallest message that does it. The server is a process of its own, and must outlive it.
 */
export async function fuzz(database: TestDatabase, runs: number, seed: number): Promise<FuzzReport> {
  const server = await new ServerProcess(fuzzedEnv(database), 'src/cli.ts', ['serve'], WATCHED).ready();
  const target = new Target(server);
  try {
    const methods = services.flatMap(({ service }) => service.methods);
    const tasks = methods.flatMap((method) => [() => overJson(target, method), () => overGrpc(target, method)]);
    // A few of each first, so that what is loaded when it is first needed is not taken for a stall.
    await inTurn(tasks, (task) => fc.assert(task(), { numRuns: 3, seed }));
    server.signal('SIGUSR2');
    await inTurn(tasks, (task) => fc.assert(task(), { numRuns: runs, seed }));
    target.close();
    const { code, output } = await server.stop('SIGTERM');
    if (code !== 0) throw new Error(`the server ended with ${code}:\n${output}`);
    const longestTurn: Turn = JSON.parse(/longest turn (.*)/.exec(output)![1]!);
    return { calls: target.calls, codes: target.codes, longestTurn, log: output };
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${server.output.slice(-4_000)}`, { cause: error });
  } finally {
    target.close();
    await server.stop('SIGKILL');
  }
}

/** A server that serves all there is, lets calls reach nothing, and does not wait long for it. */
function fuzzedEnv(database: TestDatabase): Record<string, string> {
  return testEnv(database, newMasterKey(), {
    ...{ LOG_LEVEL: 'info', SANDBOX: 'off', EGRESS_ALLOW: 'nothing.invalid', LANGFLOW_TENANT_INSTANCES: 'true' },
    MAX_CALL_MS: '3000',
  });
}

async function inTurn<T>(tasks: T[], run: (task: T) => Promise<void>): Promise<void> {
  const waiting = [...tasks];
  const work = async () => {
    for (let task = waiting.shift(); task; task = waiting.shift()) await run(task);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
}

function overJson(target: Target, method: DescMethod) {
  return fc.asyncProperty(bent(requestOf(method.input.name)), spoil, async (json, how) => {
    const text = target.harvest.fill(JSON.stringify(json));
    target.judge(method, await target.connect(method, spoilt(utf8.encode(text), how)));
  });
}

function overGrpc(target: Target, method: DescMethod) {
  return fc.asyncProperty(requestOf(method.input.name), spoil, async (json, how) => {
    const text = target.harvest.fill(JSON.stringify(json));
    target.judge(method, await target.grpc(method, spoilt(encoded(method, text), how)));
  });
}

/** The message in protobuf; the text itself where it is none. */
function encoded({ input }: DescMethod, text: string): Uint8Array {
  try {
    return toBinary(input, fromJson(input, JSON.parse(text) as Json, { ignoreUnknownFields: true }));
  } catch {
    return utf8.encode(text);
  }
}

/** The server as fuzzing sees it. */
class Target {
  readonly harvest = new Harvest();
  readonly codes = new Map<string, number>();
  calls = 0;
  readonly #httpUrl: string;
  readonly #grpc: Client;

  constructor({ grpcPort, httpPort }: ServerProcess) {
    this.#httpUrl = `http://127.0.0.1:${httpPort}`;
    this.#grpc = new Client(`127.0.0.1:${grpcPort}`, credentials.createInsecure());
  }

  close(): void {
    this.#grpc.close();
  }

  judge({ name }: DescMethod, { code, detail }: Outcome): void {
    this.calls += 1;
    this.codes.set(code, (this.codes.get(code) ?? 0) + 1);
    if (REFUSED.has(code)) throw new Error(`${name} ended with ${code} ${detail}`);
  }

  async connect(method: DescMethod, bytes: Uint8Array): Promise<Outcome> {
    const stream = method.methodKind === 'server_streaming';
    const response = await fetch(`${this.#httpUrl}${pathOf(method)}`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${ADMIN_KEY}`,
        'content-type': stream ? 'application/connect+json' : 'application/json',
        'connect-timeout-ms': String(stream ? STREAM_MS : CALL_MS),
      },
      body: (stream ? enveloped(bytes) : bytes) as BodyInit,
    });
    const text = await response.text();
    if (stream) return { code: codeIn(/"error":(\{.*)/s.exec(text)?.[1] ?? ''), detail: text };
    this.harvest.take(text);
    if (!response.ok) return { code: codeIn(text) === 'OK' ? 'UNKNOWN' : codeIn(text), detail: text };
    JSON.parse(text);
    return { code: 'OK', detail: '' };
  }

  grpc(method: DescMethod, bytes: Uint8Array): Promise<Outcome> {
    const metadata = new Metadata();
    metadata.set('authorization', `Bearer ${ADMIN_KEY}`);
    const stream = method.methodKind === 'server_streaming';
    const options = { deadline: Date.now() + (stream ? STREAM_MS : CALL_MS) };
    const asIs = (buffer: Buffer) => buffer;
    const request = Buffer.from(bytes);
    return new Promise((done) => {
      const ended = (error: Pick<ServiceError, 'code' | 'details'> | null) =>
        done({ code: CODES[error?.code ?? 0]!, detail: error?.details ?? '' });
      if (stream) {
        const call = this.#grpc.makeServerStreamRequest(pathOf(method), asIs, asIs, request, metadata, options);
        call.on('error', () => {});
        call.on('status', ended);
        call.resume();
      } else this.#grpc.makeUnaryRequest(pathOf(method), asIs, asIs, request, metadata, options, ended);
    });
  }
}

function pathOf({ parent, name }: DescMethod): string {
  return `/${parent.typeName}/${name}`;
}

function enveloped(bytes: Uint8Array): Uint8Array {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function codeIn(text: string): string {
  const code = /"code":\s*"(\w+)"/.exec(text)?.[1]?.toUpperCase() ?? 'OK';
  return code === 'CANCELED' ? 'CANCELLED' : code;
}
