import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { HealthStatus } from '../../gen/latchkey/v1/integration_service_pb.ts';
import { AccountWorld } from '../harness/accounts.ts';
import { type Failure, failureOf } from '../harness/errors.ts';
import type { LangflowFake, Run } from '../harness/langflow.ts';
import { type Clients, TRANSPORTS } from '../harness/server.ts';

const RUN = /\/run\//;
const PAGE = { status: 200, headers: { 'content-type': 'text/html' }, body: '<html>the front page</html>' };
/** Whatever Langflow says to a request that fails; nobody is to read it. */
const TOLD = ['ran into a wall', 'Traceback', 'graph.py', 'front page', 'the-planted-detail', 'langflow.graph'];

let world: AccountWorld;
let clients: Clients;
let key: string;
beforeAll(async () => {
  world = await AccountWorld.start();
});
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(async () => {
  world.newTenant();
  clients = await world.as();
  ({ apiKey: key } = await clients.langflow.getApiKey({}));
  world.langflow.hits.length = 0;
});

async function made(name: string): Promise<string> {
  return (await clients.langflow.createFlow({ name })).flow!.id;
}

const runsOf = (flowId: string): Run[] => world.langflow.runs.filter(({ flow }) => flow.id === flowId);

/** What is streamed until it ends or fails. */
async function streamed(by: Clients, flowId: string, inputValue = 'hello') {
  const events: (string | undefined)[] = [];
  const going = async () => {
    for await (const { event } of by.langflow.streamFlowRun({ run: { flowId, inputValue } })) {
      events.push(event.case);
      expectSilent(JSON.stringify(event.value));
    }
  };
  const failure = await failureOf(going());
  expectSilent(JSON.stringify(failure));
  return { events, failure };
}

async function failed(call: Promise<unknown>): Promise<Failure> {
  const failure = await failureOf(call);
  expectSilent(JSON.stringify(failure));
  return failure;
}

function expectSilent(text: string): void {
  for (const word of [...TOLD, key, world.langflow.adminKey]) expect(text).not.toContain(word);
}

const FAILED = { reason: 'FLOW_RUN_FAILED', code: 'FailedPrecondition', metadata: { provider_error: 'flow_failed' } };

describe.each(TRANSPORTS)('A flow that is run over %s', (transport) => {
  beforeEach(async () => {
    clients = await world.as({ transport });
  });

  it('and fails says so, and nothing of why', async () => {
    const flowId = await made('fails: at once');
    expect(await failed(clients.langflow.runFlow({ run: { flowId } }))).toMatchObject(FAILED);
    const { events, failure } = await streamed(clients, flowId);
    expect(failure).toMatchObject(FAILED);
    expect(events).toEqual([]);
    expect(runsOf(flowId).map(({ state }) => state)).toEqual(['failed', 'failed']);
  });

  it('and breaks in the middle answers what came before', async () => {
    const flowId = await made('breaks: later');
    const { events, failure } = await streamed(clients, flowId, 'something longer');
    expect(failure).toMatchObject(FAILED);
    expect(events).toEqual(['message', 'token', 'token']);
    expect(await failed(clients.langflow.runFlow({ run: { flowId } }))).toMatchObject(FAILED);
    expect(runsOf(flowId)).toHaveLength(2);
  });

  it('is stopped there when its reader leaves', async () => {
    const flowId = await made('slow: to be left');
    const leaving = new AbortController();
    const reading = (async () => {
      const run = { flowId, inputValue: 'a long story' };
      for await (const { event } of clients.langflow.streamFlowRun({ run }, { signal: leaving.signal }))
        if (event.case === 'token') leaving.abort();
    })();
    expect(await failed(reading)).toMatchObject({ code: 'Canceled' });
    await world.langflow.waitFor(() => runsOf(flowId)[0]?.state === 'stopped');
    expect(runsOf(flowId)).toHaveLength(1);
  });

  it('is left to itself when who waits for its end leaves, and is not run again', async () => {
    const flowId = await made('slow: to be left');
    const leaving = new AbortController();
    const running = clients.langflow.runFlow({ run: { flowId } }, { signal: leaving.signal });
    await world.langflow.waitFor(() => runsOf(flowId).length === 1);
    leaving.abort();
    expect(await failed(running)).toMatchObject({ code: 'Canceled' });
    await world.langflow.waitFor(() => runsOf(flowId)[0]!.disconnected);
    expect(runsOf(flowId)).toHaveLength(1);
  });

  it('is ended by the caller’s deadline', async () => {
    const flowId = await made('slow: for ever');
    const run = { flowId, inputValue: 'a long story' };
    expect(await failed(clients.langflow.runFlow({ run }, { timeoutMs: 300 }))).toMatchObject({
      code: 'DeadlineExceeded',
    });
    const reading = (async () => {
      for await (const { event } of clients.langflow.streamFlowRun({ run }, { timeoutMs: 300 }))
        expect(event.case).not.toBe('end');
    })();
    expect(await failed(reading)).toMatchObject({ code: 'DeadlineExceeded' });
    await world.langflow.waitFor(() => runsOf(flowId).every(({ disconnected }) => disconnected));
    expect(runsOf(flowId)).toHaveLength(2);
    expect(runsOf(flowId)[1]!.state).toBe('stopped');
  });
});

type Told = { status: number; headers?: Record<string, string>; body?: unknown };
type Expected = Partial<Pick<Failure, 'reason' | 'retryAfterMs' | 'fields'>> & { metadata?: Record<string, string> };

const detail = (text = 'the-planted-detail') => ({ detail: text });
const unavailable = (provider_error: string, retryAfterMs = 5_000): Expected => ({
  ...{ reason: 'PROVIDER_UNAVAILABLE', retryAfterMs },
  metadata: { provider_error },
});
const limited = (retryAfterMs: number): Expected => ({
  ...{ reason: 'PROVIDER_RATE_LIMITED', retryAfterMs },
  metadata: { provider_error: 'too_many_requests' },
});
const SSE = { 'content-type': 'text/event-stream' };
const END = { event: 'end', data: { result: { session_id: 's', outputs: [] } } };

/** What Langflow, or what stands before it, answers to a run. */
const ANSWERS: [string, Told, Expected][] = [
  ['an error of the flow', { status: 500, body: detail() }, FAILED],
  ['an error that nobody caught', { status: 500, body: { message: 'the-planted-detail' } }, FAILED],
  ['an error in plain text', { status: 500, body: 'the-planted-detail' }, FAILED],
  ['a proxy’s 502', { ...PAGE, status: 502 }, unavailable('server_error')],
  ['503', { status: 503, headers: { 'retry-after': '7' }, body: detail() }, unavailable('server_error', 7_000)],
  [
    '503 until a date',
    { status: 503, headers: { 'retry-after': 'Wed, 21 Oct 2099 07:28:00 GMT' } },
    unavailable('server_error'),
  ],
  ['503 for ages', { status: 503, headers: { 'retry-after': '9999999' } }, unavailable('server_error', 3_600_000)],
  ['429', { status: 429, headers: { 'retry-after': '13' }, body: detail() }, limited(13_000)],
  ['429 without a time', { status: 429, body: detail() }, limited(5_000)],
  ['a page', PAGE, unavailable('not_json')],
  ['404 of a component', { status: 404, body: detail() }, FAILED],
  ['404', { status: 404, body: detail('Flow identifier x not found') }, { reason: 'FLOW_NOT_FOUND' }],
  ['400', { status: 400, body: detail() }, { reason: 'FIELD_INVALID', fields: ['run.tweaks'] }],
  [
    '422 of fields',
    { status: 422, body: { detail: [{ type: 'x', loc: ['body', 'input_value'], msg: 'the-planted-detail' }] } },
    { reason: 'FIELD_INVALID', fields: ['run.input_value'] },
  ],
  [
    '422 of tweaks',
    {
      status: 422,
      body: { detail: { error: 'the-planted-detail', code: 'TWEAKS_REFUSED', fields: ['the-planted-detail'] } },
    },
    { reason: 'FIELD_INVALID', fields: ['run.tweaks'] },
  ],
  [
    'a redirect',
    { status: 307, headers: { location: 'http://127.0.0.1:1/the-planted-detail' } },
    { reason: 'INTEGRATION_MISCONFIGURED', metadata: { provider_error: 'redirected' } },
  ],
  ['418', { status: 418, body: detail() }, unavailable('unexpected_answer')],
];

/** Where the head of the answer was good. */
const BAD_BODIES: [string, Told, Expected][] = [
  ['nothing', { status: 200, headers: { 'content-type': 'application/json' }, body: '' }, unavailable('not_json')],
  [
    'half of it',
    { status: 200, headers: { 'content-type': 'application/json' }, body: '{"outputs": [' },
    unavailable('not_json'),
  ],
  ['a list', { status: 200, body: [END] }, unavailable('not_json')],
];

const frame = (event: unknown) => `${JSON.stringify(event)}\n\n`;
const TOKEN = { event: 'token', data: { id: 'm', chunk: 'a', timestamp: 't' } };
const BAD_STREAMS: [string, Told, Expected][] = [
  ['nothing', { status: 200, headers: SSE, body: '' }, FAILED],
  ['no end', { status: 200, headers: SSE, body: frame(TOKEN) }, FAILED],
  ['half a frame', { status: 200, headers: SSE, body: `${frame(TOKEN)}{"event": "end", "da` }, unavailable('not_json')],
  [
    'a page in the middle',
    { status: 200, headers: SSE, body: `${frame(TOKEN)}${PAGE.body}\n\n` },
    unavailable('not_json'),
  ],
  [
    'an error of another shape',
    { status: 200, headers: SSE, body: `${frame(TOKEN)}${frame({ event: 'error', data: 'the-planted-detail' })}` },
    FAILED,
  ],
  [
    'too long a frame',
    { status: 200, headers: SSE, body: `${frame(TOKEN)}${'x'.repeat(9 * 1024 * 1024)}` },
    unavailable('not_json'),
  ],
];

describe('What is answered to a run', () => {
  let flowId: string;
  beforeEach(async () => {
    flowId = await made('echo');
  });

  const hits = () => world.langflow.count('POST', RUN);

  it.each([...ANSWERS, ...BAD_BODIES])(
    '%s is told by its reason, and the run not sent again',
    async (_, answer, expected) => {
      world.langflow.next('POST', RUN, { answer });
      const failure = await failed(clients.langflow.runFlow({ run: { flowId } }));
      expect(failure).toMatchObject(expected);
      expect(hits()).toBe(1);
    },
  );

  it.each([...ANSWERS, ...BAD_STREAMS])(
    'in a stream: %s is told by its reason, and the run not sent again',
    async (_, answer, expected) => {
      world.langflow.next('POST', RUN, { answer });
      const { failure, events } = await streamed(clients, flowId);
      expect(failure).toMatchObject(expected);
      expect(events.filter((kind) => kind !== 'token')).toEqual([]);
      expect(hits()).toBe(1);
    },
  );

  it.each(['before', 'after'] as const)('and is lost %s it was done, is not asked for again', async (drop) => {
    world.langflow.next('POST', RUN, { drop });
    expect(await failed(clients.langflow.runFlow({ run: { flowId } }))).toMatchObject(unavailable('unreachable'));
    world.langflow.next('POST', RUN, { drop });
    expect((await streamed(clients, flowId)).failure).toMatchObject(unavailable('unreachable'));
    expect(hits()).toBe(2);
    expect(runsOf(flowId).length).toBeLessThanOrEqual(drop === 'after' ? 2 : 0);
  });

  it.each([401, 403])('with %i, while the key is good, means that the flow is not the caller’s', async (status) => {
    for (const ask of [
      () => failed(clients.langflow.runFlow({ run: { flowId } })),
      async () => (await streamed(clients, flowId)).failure,
    ]) {
      const before = hits();
      world.langflow.next('POST', RUN, { answer: { status, body: detail() } });
      expect(await ask()).toMatchObject({ reason: 'FLOW_NOT_FOUND', metadata: { flow_id: flowId } });
      expect(hits()).toBe(before + 1);
    }
    expect(world.langflow.count('POST', /api_key/)).toBe(0);
    expect((await clients.langflow.getApiKey({})).apiKey).toBe(key);
  });

  it('may be long, but not without end', async () => {
    const body = { session_id: 's', outputs: [], more: 'x'.repeat(2 * 1024 * 1024) };
    world.langflow.next('POST', RUN, { answer: { status: 200, body } });
    expect((await clients.langflow.runFlow({ run: { flowId } })).answer).toEqual(body);
    const endless = { ...body, more: 'x'.repeat(9 * 1024 * 1024) };
    world.langflow.next('POST', RUN, { answer: { status: 200, body: endless } });
    expect(await failed(clients.langflow.runFlow({ run: { flowId } }))).toMatchObject({
      reason: 'PROVIDER_UNAVAILABLE',
    });
    expect(hits()).toBe(2);
  });

  it('is not there while all is down, and the flow runs again when it is back', async () => {
    world.langflow.set({ down: true });
    expect(await failed(clients.langflow.runFlow({ run: { flowId } }))).toMatchObject(unavailable('unreachable'));
    expect((await streamed(clients, flowId)).failure).toMatchObject(unavailable('unreachable'));
    world.langflow.set({ down: 503 });
    expect(await failed(clients.langflow.runFlow({ run: { flowId } }))).toMatchObject(unavailable('server_error'));
    expect((await streamed(clients, flowId)).failure).toMatchObject(unavailable('server_error'));
    world.langflow.set({ down: false });
    expect(await clients.langflow.runFlow({ run: { flowId, inputValue: 'back' } })).toMatchObject({ text: 'back' });
    expect(runsOf(flowId)).toHaveLength(1);
  });
});

describe('A request for flows', () => {
  it.each(['before', 'after'] as const)(
    'that makes one is not sent again where its answer is lost %s',
    async (drop) => {
      world.langflow.next('POST', /\/flows\/$/, { drop });
      expect(await failed(made('once'))).toMatchObject(unavailable('unreachable'));
      expect(world.langflow.count('POST', /\/flows\/$/)).toBe(1);
      const { flows } = await clients.langflow.listFlows({});
      expect(flows.map(({ name }) => name)).toEqual(drop === 'after' ? ['once'] : []);
    },
  );

  it.each<[string, Told, Expected]>([
    ['a page', PAGE, unavailable('not_json')],
    ['500', { status: 500, body: detail() }, unavailable('server_error')],
    ['503', { status: 503, headers: { 'retry-after': '3' } }, unavailable('server_error', 3_000)],
    ['429', { status: 429, headers: { 'retry-after': '3' } }, limited(3_000)],
    ['an object', { status: 200, body: { flows: [] } }, unavailable('not_json')],
    ['403 with a good key', { status: 403, body: detail() }, unavailable('unexpected_answer')],
    [
      'a redirect',
      { status: 301, headers: { location: 'http://127.0.0.1:1/' } },
      { reason: 'INTEGRATION_MISCONFIGURED', metadata: { provider_error: 'redirected' } },
    ],
  ])('for a list that gets %s is told so', async (_, answer, expected) => {
    world.langflow.next('GET', /\/flows\/$/, { answer });
    expect(await failed(clients.langflow.listFlows({}))).toMatchObject(expected);
  });

  it.each<[string, Told, Expected]>([
    ['400', { status: 400, body: detail() }, { reason: 'FIELD_INVALID', fields: ['data'] }],
    [
      '422',
      { status: 422, body: { detail: [{ loc: ['body', 'endpoint_name'], msg: 'the-planted-detail' }] } },
      { reason: 'FIELD_INVALID', fields: ['endpoint_name'] },
    ],
    ['a page', PAGE, unavailable('not_json')],
  ])('for a new one that gets %s is told so, and sent once', async (_, answer, expected) => {
    world.langflow.next('POST', /\/flows\/$/, { answer });
    expect(await failed(made('new'))).toMatchObject(expected);
    expect(world.langflow.count('POST', /\/flows\/$/)).toBe(1);
  });
});

describe('The health of Langflow', () => {
  type Change = (langflow: LangflowFake) => void;
  const answers = (path: RegExp, answer: Told) => (langflow: LangflowFake) =>
    void langflow.next('GET', path, { answer });
  const both = (first: Change, second: Change) => (langflow: LangflowFake) => {
    first(langflow);
    second(langflow);
  };
  const [CHECK, HEALTH, VERSION] = [/\/health_check$/, /\/health$/, /\/version$/];
  const [DOWN, version] = [{ status: HealthStatus.DOWN, version: '' }, '1.13.0'];
  const SILENT = { ...DOWN, message: 'It does not answer.' };
  const FOREIGN = { ...DOWN, message: 'What answers there is not Langflow.' };
  const SERVING = { status: HealthStatus.SERVING, version, message: '' };
  const DEGRADED = {
    ...{ status: HealthStatus.DEGRADED, version },
    message: 'It answers, and says that a part of it does not work.',
  };

  it.each<[string, Change, object]>([
    ['it is well', () => {}, SERVING],
    ['its database is not', (langflow) => langflow.set({ healthy: false }), DEGRADED],
    ['it resets connections', (langflow) => langflow.set({ down: true }), SILENT],
    ['a proxy answers in its place', (langflow) => langflow.set({ down: 502 }), SILENT],
    ['it is of before the check', answers(CHECK, { status: 404, body: detail() }), SERVING],
    ['it is of before the check, with web pages', answers(CHECK, PAGE), SERVING],
    ['all that answers is pages', both(answers(CHECK, PAGE), answers(HEALTH, PAGE)), FOREIGN],
    ['nothing is there', both(answers(CHECK, { status: 404 }), answers(HEALTH, { status: 404 })), FOREIGN],
    ['it redirects', both(answers(CHECK, { status: 302 }), answers(HEALTH, { status: 302 })), FOREIGN],
    ['it keeps its version to itself', answers(VERSION, { status: 403, body: detail() }), { ...SERVING, version: '' }],
    [
      'its version is none',
      answers(VERSION, { status: 200, body: { version: '<b>the-planted-detail</b>' } }),
      { ...SERVING, version: '' },
    ],
  ])('where %s is told in words that give nothing away', async (_, change, expected) => {
    await using own = await AccountWorld.start();
    change(own.langflow);
    const nobody = own.servers[0]!.clients('connect');
    const { health } = await nobody.langflow.checkHealth({});
    expect(health).toMatchObject({ provider: 'langflow', ...expected });
    expect(health!.latency === undefined).toBe(health!.status === HealthStatus.DOWN);
    expectSilent(JSON.stringify(health, (_, value) => (typeof value === 'bigint' ? String(value) : value)));
    expect(JSON.stringify(health!.message)).not.toContain(own.langflow.url);
    const { providers } = await nobody.integrations.checkAllProvidersHealth({});
    expect(providers.find(({ provider }) => provider === 'langflow')).toEqual(health);
    expect(own.langflow.count('GET', CHECK)).toBe(1);
    expect(own.langflow.hits.every(({ credential }) => credential === 'none')).toBe(true);
  });

  it('is looked at once for all who ask, and not for ever where it hangs', async () => {
    await using own = await AccountWorld.start();
    const held = own.langflow.next('GET', CHECK, { hold: 'before' });
    own.langflow.next('GET', VERSION, { hold: 'before' });
    const nobody = own.servers[0]!.clients('grpc');
    const all = await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        i % 2
          ? nobody.integrations.checkAllProvidersHealth({}).then(({ providers }) => providers)
          : nobody.langflow.checkHealth({}).then(({ health }) => [health!]),
      ),
    );
    for (const providers of all)
      expect(providers.find(({ provider }) => provider === 'langflow')).toMatchObject(SILENT);
    expect(own.langflow.count('GET', CHECK)).toBe(1);
    expect(own.langflow.count('GET', VERSION)).toBe(1);
    held.release();
    await expect
      .poll(async () => (await nobody.langflow.checkHealth({})).health, { timeout: 10_000, interval: 100 })
      .toMatchObject(SERVING);
    expect(own.langflow.count('GET', CHECK)).toBe(2);
  });
});

describe('What is logged', () => {
  it('has nothing of what Langflow said, nor a key', () => {
    const [server] = world.servers;
    expect(server!.logLines.length).toBeGreaterThan(100);
    expectSilent(server!.logLines.join('\n'));
  });
});
