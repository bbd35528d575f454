import { connect as connectTcp } from 'node:net';
import { create, type DescMethodServerStreaming, type DescMethodUnary, type Message } from '@bufbuild/protobuf';
import { StructSchema, ValueSchema } from '@bufbuild/protobuf/wkt';
import type { Transport } from '@connectrpc/connect';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { LatchkeyError } from '../../src/base/error.ts';
import type { Call } from '../../src/domain/call.ts';
import { services } from '../../src/handlers/index.ts';
import { aborted, type EchoBehaviour, echoDescriptor, echoHandlers } from '../harness/echo-service.ts';
import { asFailure, failureOf } from '../harness/errors.ts';
import { ADMIN_KEY, TestServer, TRANSPORTS } from '../harness/server.ts';

const echo = echoDescriptor();
const behaviour: EchoBehaviour = {};
let server: TestServer;

beforeAll(async () => {
  server = await TestServer.start({
    services: [...services, echoHandlers(echo, behaviour)],
    env: { MAX_CALL_MS: '2000', MAX_MESSAGE_BYTES: '100000' },
  });
});
afterAll(() => server.stop());
beforeEach(() => {
  delete behaviour.unary;
  delete behaviour.stream;
});

type Options = {
  headers?: Record<string, string>;
  signal?: AbortSignal;
  timeoutMs?: number;
  input?: Record<string, string>;
};

const inputOf = (input: Record<string, string> = {}) =>
  create(StructSchema, {
    fields: Object.fromEntries(
      Object.entries(input).map(([key, value]) => [key, create(ValueSchema, { kind: { case: 'stringValue', value } })]),
    ),
  });
const valuesOf = (message: Message) =>
  Object.fromEntries(
    Object.entries((message as unknown as { fields: Record<string, { kind: { value?: unknown } }> }).fields).map(
      ([key, { kind }]) => [key, kind.value],
    ),
  );

function unary(
  transport: Transport,
  { headers, signal, timeoutMs, input }: Options = {},
  name: 'unary' | 'public' = 'unary',
) {
  return transport.unary(
    echo.method[name] as DescMethodUnary,
    signal,
    timeoutMs,
    { authorization: `Bearer ${ADMIN_KEY}`, ...headers },
    inputOf(input),
  );
}

async function stream(transport: Transport, { signal, timeoutMs, input }: Options = {}) {
  async function* once() {
    yield inputOf(input);
  }
  const method = echo.method.stream as DescMethodServerStreaming;
  const response = await transport.stream(method, signal, timeoutMs, { authorization: `Bearer ${ADMIN_KEY}` }, once());
  return response;
}

async function collect(transport: Transport, options: Options = {}) {
  const values: unknown[] = [];
  try {
    const { message } = await stream(transport, options);
    for await (const item of message) values.push(valuesOf(item).n);
    return { values, failure: null };
  } catch (error) {
    return { values, failure: asFailure(error) };
  }
}

describe.each(TRANSPORTS)('Every transport: %s', (name) => {
  const transport = () => server.transport(name);

  it('answers the request id in the headers, the caller’s own if given', async () => {
    behaviour.unary = async (call) => ({ id: call.requestId });
    const own = await unary(transport(), { headers: { 'x-request-id': 'mine-1' } });
    expect(own.header.get('x-request-id')).toBe('mine-1');
    expect(valuesOf(own.message)).toEqual({ id: 'mine-1' });
    const made = await unary(transport(), { headers: { 'x-request-id': 'not an id' } });
    expect(made.header.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('logs the trace of W3C trace context', async () => {
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    await unary(transport(), {
      headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01`, 'x-request-id': `trace-${name}` },
    });
    const line = server.logLines.find((text) => text.includes(`trace-${name}`));
    expect(JSON.parse(line!)).toMatchObject({
      traceId,
      parentSpanId: '00f067aa0ba902b7',
      method: '/test.EchoService/Unary',
      code: 'OK',
    });
  });

  it('lets nobody call but a public method', async () => {
    behaviour.unary = async (call) => ({ tenant: call.principal.tenantId, may: call.principal.permissions.size });
    const nobody = transport().unary(echo.method.unary as DescMethodUnary, undefined, undefined, {}, inputOf());
    expect(await failureOf(nobody)).toMatchObject({
      code: 'Unauthenticated',
      reason: 'CREDENTIALS_MISSING',
      domain: 'latchkey',
    });
    const open = await transport().unary(echo.method.public as DescMethodUnary, undefined, undefined, {}, inputOf());
    expect(valuesOf(open.message)).toEqual({ tenant: '', may: '0' });
  });

  it('maps each error with its details, and an unknown one to INTERNAL without a word of it', async () => {
    behaviour.unary = async (_, { what }) => {
      if (what === 'ours') throw new LatchkeyError('OVERLOADED', { retryAfterMs: 1500, metadata: { key: 'value' } });
      throw new Error('the password is hunter2');
    };
    const ours = await failureOf(unary(transport(), { input: { what: 'ours' }, headers: { 'x-request-id': 'r' } }));
    expect(ours).toEqual({
      code: 'ResourceExhausted',
      message: 'too many calls are in flight',
      reason: 'OVERLOADED',
      domain: 'latchkey',
      metadata: { key: 'value', request_id: 'r' },
      fields: [],
      retryAfterMs: 1500,
    });
    const unknown = await failureOf(
      unary(transport(), { input: { what: 'theirs' }, headers: { 'x-request-id': `oops-${name}` } }),
    );
    expect(unknown).toMatchObject({
      code: 'Internal',
      message: 'internal error',
      reason: 'INTERNAL',
      metadata: { request_id: `oops-${name}` },
    });
    expect(JSON.stringify(unknown)).not.toContain('hunter2');
    const line = JSON.parse(server.logLines.find((text) => text.includes(`oops-${name}`))!);
    expect(line).toMatchObject({ level: 50, reason: 'INTERNAL', err: { message: 'the password is hunter2' } });
  });

  it('maps a synchronous throw, too', async () => {
    behaviour.unary = () => {
      throw new LatchkeyError('SHUTTING_DOWN');
    };
    expect(await failureOf(unary(transport()))).toMatchObject({ code: 'Unavailable', reason: 'SHUTTING_DOWN' });
  });

  it('ends a call at the caller’s deadline and tells the verb', async () => {
    const seen = Promise.withResolvers<LatchkeyError>();
    behaviour.unary = async (call) => {
      seen.resolve(await aborted(call));
      return {};
    };
    expect((await failureOf(unary(transport(), { timeoutMs: 200 }))).code).toBe('DeadlineExceeded');
    expect((await seen.promise).reason).toMatch(/DEADLINE_EXCEEDED|CANCELLED/);
  });

  it('ends a call at the server’s own limit, with details', async () => {
    behaviour.unary = async (call) => {
      await aborted(call);
      await new Promise(() => {});
      return {};
    };
    expect(await failureOf(unary(transport()))).toMatchObject({
      code: 'DeadlineExceeded',
      reason: 'DEADLINE_EXCEEDED',
    });
  });

  it('tells the verb when the caller goes away', async () => {
    const started = Promise.withResolvers<void>();
    const seen = Promise.withResolvers<LatchkeyError>();
    behaviour.unary = async (call) => {
      started.resolve();
      seen.resolve(await aborted(call));
      return {};
    };
    const controller = new AbortController();
    const call = failureOf(unary(transport(), { signal: controller.signal }));
    await started.promise;
    controller.abort();
    expect((await call).code).toBe('Canceled');
    expect((await seen.promise).reason).toBe('CANCELLED');
  });

  it('refuses a message that is too large', async () => {
    const failure = await failureOf(unary(transport(), { input: { big: 'x'.repeat(150_000) } }));
    expect(failure).toMatchObject({ code: 'ResourceExhausted', reason: 'MESSAGE_TOO_LARGE' });
  });

  it('streams in order, with its end and its errors', async () => {
    behaviour.stream = async function* () {
      for (let n = 0; n < 1000; n++) yield { n };
    };
    const whole = await collect(transport());
    expect(whole).toEqual({ values: Array.from({ length: 1000 }, (_, n) => String(n)), failure: null });
    behaviour.stream = async function* () {
      yield { n: 0 };
      throw new LatchkeyError('OVERLOADED', { retryAfterMs: 100 });
    };
    expect(await collect(transport())).toMatchObject({
      values: ['0'],
      failure: { reason: 'OVERLOADED', code: 'ResourceExhausted', retryAfterMs: 100 },
    });
    behaviour.stream = async function* () {
      yield { n: 0 };
      throw new Error('hunter2');
    };
    expect(await collect(transport())).toMatchObject({
      values: ['0'],
      failure: { reason: 'INTERNAL', message: 'internal error' },
    });
  });

  it('is not bound by the limit of single answers while it streams', async () => {
    const limitPassed = Promise.withResolvers<void>();
    behaviour.stream = async function* () {
      yield { n: 'first' };
      await limitPassed.promise;
      yield { n: 'second' };
    };
    behaviour.unary = () => new Promise(() => {});
    const streaming = collect(transport());
    // A single answer that began later is cut by the limit before the stream goes on.
    expect((await failureOf(unary(transport()))).reason).toBe('DEADLINE_EXCEEDED');
    limitPassed.resolve();
    expect(await streaming).toEqual({ values: ['first', 'second'], failure: null });
  });

  it('stops a stream whose reader leaves', async () => {
    const ended = Promise.withResolvers<string>();
    behaviour.stream = async function* (call: Call) {
      try {
        for (let n = 0; ; n++) {
          yield { n };
          await new Promise((done) => setImmediate(done));
          if (call.signal.aborted) break;
        }
      } finally {
        ended.resolve('ended');
      }
    };
    const controller = new AbortController();
    const response = await stream(transport(), { signal: controller.signal });
    let read = 0;
    const reading = (async () => {
      for await (const _ of response.message) if (++read === 10) controller.abort();
    })().catch(() => {});
    expect(await ended.promise).toBe('ended');
    await reading;
    expect(read).toBeGreaterThanOrEqual(10);
  });

  it('counts calls by method, code and reason', async () => {
    behaviour.unary = async () => {
      throw new LatchkeyError('ETAG_MISMATCH');
    };
    await failureOf(unary(transport()));
    const metrics = await (await fetch(`${server.httpUrl}/metrics`)).text();
    expect(metrics).toMatch(
      new RegExp(
        `grpc_server_handled_total\\{[^}]*grpc_method="Unary"[^}]*grpc_code="Aborted"[^}]*reason="ETAG_MISMATCH",transport="${name}"\\} 1`,
      ),
    );
    expect(metrics).toContain('grpc_server_handling_seconds_bucket');
  });
});

describe.each(TRANSPORTS)('A full server: %s', (name) => {
  it('refuses more calls than it takes, at once and with a delay to wait, and serves again afterwards', async () => {
    const release = Promise.withResolvers<void>();
    const started = Promise.withResolvers<void>();
    const waiting: EchoBehaviour = {
      async unary() {
        started.resolve();
        await release.promise;
        return {};
      },
    };
    const full = await TestServer.start({
      services: [...services, echoHandlers(echo, waiting)],
      env: { MAX_IN_FLIGHT: '1' },
    });
    const transport = full.transport(name);
    const first = unary(transport);
    await started.promise;
    expect(await failureOf(full.operator(name).access.getMe({}))).toMatchObject({
      code: 'ResourceExhausted',
      reason: 'OVERLOADED',
      retryAfterMs: 1000,
    });
    expect((await fetch(`${full.httpUrl}/readyz`)).status).toBe(200);
    release.resolve();
    await first;
    expect((await full.operator(name).access.getMe({})).tenantId).toBe('default');
    await full.stop();
  });
});

describe('A call whose message never comes to its end', () => {
  it('gives its place back after the limit', async () => {
    const full = await TestServer.start({ env: { MAX_IN_FLIGHT: '1', MAX_CALL_MS: '1500' } });
    const socket = connectTcp(full.replica.httpPort, '127.0.0.1');
    const head = [
      'POST /latchkey.v1.AccessService/GetMe HTTP/1.1',
      'host: x',
      `x-api-key: ${ADMIN_KEY}`,
      'content-type: application/json',
      'content-length: 100',
    ];
    socket.write(`${head.join('\r\n')}\r\n\r\n{`);
    const outcome = () =>
      full
        .operator()
        .access.getMe({})
        .then(
          () => 'answered',
          (error) => asFailure(error).reason,
        );
    const metrics = async () => (await fetch(`${full.httpUrl}/metrics`)).text();
    await expect.poll(metrics, { timeout: 5_000, interval: 20 }).toContain('latchkey_calls_in_flight 1');
    expect(await outcome()).toBe('OVERLOADED');
    await expect.poll(outcome, { timeout: 5_000, interval: 20 }).toBe('answered');
    socket.destroy();
    await full.stop();
  });
});

describe('An admin key', () => {
  it.each([
    'lk_01m80tpmh6pfc7tz8t21mvjgrz_tTgwpOgqUlDkCPIf399I02aEwihuLkLVQgTWBlfjG0U',
    'looks.like.a-token-of-some-identity-provider',
  ])('may look like anything: %s', async (key) => {
    const own = await TestServer.start({ env: { LATCHKEY_ADMIN_KEY: key } });
    expect((await own.clients('grpc', { 'x-api-key': key }).access.getMe({})).apiKey?.operator).toBe(true);
    await own.stop();
  });
});
