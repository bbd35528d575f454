import { randomUUID } from 'node:crypto';
import {
  type Answer,
  type Asked,
  bodyOf,
  DICTIONARY,
  flagOf,
  invalid,
  isObject,
  isUuid,
  members,
  oneOf,
  Refusal,
  STRING,
} from './http.ts';
import { runnerOf } from './identity.ts';
import type { Flow, Run, User, World } from './world.ts';

const FIELDS = {
  ...{ input_value: STRING, output_component: STRING, session_id: STRING, tweaks: DICTIONARY },
  ...{ input_type: oneOf('chat', 'text', 'any'), output_type: oneOf('chat', 'text', 'any', 'debug') },
};

type Input = {
  input_value?: string | null;
  output_type?: string;
  session_id?: string | null;
  tweaks?: Record<string, unknown> | null;
};

/** Says back what it was told, but for flows whose name begins with what they do instead: `slow:`, `fails:`, `breaks:`, `misses:`. */
export async function runFlow(world: World, asked: Asked): Promise<Answer> {
  const body = bodyOf(asked);
  const flow = flowOf(world, asked);
  const runner = runnerOf(world, asked);
  if (!world.switches.runsForeignFlows && flow.user_id !== runner.id)
    throw new Refusal(403, 'You do not have permission to run this flow');
  const input = inputOf(world, body);
  refuseTweaks(world, input);
  const streamed = world.switches.streamsRuns && flagOf(asked, 'stream', false);
  const run = begin(world, asked, { flow, runner, input, streamed });
  if (streamed) return { status: 200, frames: framesOf(world, run, asked.gone) };
  return { status: 200, body: await resultOf(world, run) };
}

/** By id, else the first of anybody's that has this endpoint name. It is looked for before the key. */
function flowOf(world: World, { param, query }: Asked): Flow {
  const owner = query.get('user_id');
  const flow = isUuid(param)
    ? world.flows.find(({ id }) => id === param.toLowerCase())
    : world.flows.find(({ endpoint_name, user_id }) => endpoint_name === param && (!owner || user_id === owner));
  if (flow) return flow;
  throw new Refusal(404, `Flow identifier ${param} not found`);
}

function inputOf({ switches }: World, body: unknown): Input {
  if (body === undefined) return {};
  if (Array.isArray(body)) throw invalid({ type: 'dict_type', loc: ['body'], msg: 'Not a dictionary', input: body });
  try {
    return members(body, FIELDS);
  } catch (error) {
    if (switches.runBody === 'ignored') return {};
    throw error;
  }
}

function refuseTweaks({ switches }: World, { input_value, tweaks }: Input): void {
  const fields = Object.entries(tweaks ?? {});
  const clash = fields.some(
    ([name, tweak]) => /^ChatInput(-|$)/.test(name) && isObject(tweak) && tweak.input_value !== undefined,
  );
  if (clash && input_value != null)
    throw new Refusal(400, 'If you pass an input_value to the chat input, you cannot pass a tweak with the same name.');
  if (!switches.refusesTweaks || fields.length === 0) return;
  const message = 'The tweaks policy of this server does not allow these fields.';
  const names = fields.map(([name]) => name);
  throw new Refusal(422, { error: 'Refused tweaks', code: 'TWEAKS_REFUSED', message, fields: names });
}

type Begun = { flow: Flow; runner: User; input: Input; streamed: boolean };
type RunningRun = Run & { input: Input; released: Promise<void> };

function begin(world: World, asked: Asked, { flow, runner, input, streamed }: Begun): RunningRun {
  const { promise: released, resolve: release } = Promise.withResolvers<void>();
  const run: RunningRun = {
    ...{ flow, by: runner.username, sessionId: input.session_id || flow.id, input, streamed },
    ...{ state: 'running', disconnected: false, release, released },
  };
  void abortOf(asked.gone).then(() => {
    run.disconnected = true;
    if (streamed && run.state === 'running') run.state = 'stopped';
    world.changed();
  });
  if (!does(run, 'slow')) release();
  world.runs.push(run);
  world.changed();
  return run;
}

function does({ flow }: Run, what: 'slow' | 'fails' | 'breaks' | 'misses'): boolean {
  return flow.name.startsWith(`${what}:`);
}

function end(world: World, run: Run, state: Run['state']): void {
  run.state = state;
  world.changed();
}

async function resultOf(world: World, run: RunningRun): Promise<object> {
  await run.released;
  const refusal = failureOf(run);
  end(world, run, refusal ? 'failed' : 'done');
  if (refusal) throw refusal;
  return resultBody(world, run);
}

const TRACEBACK = 'Traceback (most recent call last):\n  File "/app/langflow/graph.py", line 1';

/** A failure is a JSON text inside JSON, with a traceback; one that speaks of what was not found is a 404. */
function failureOf(run: Run): Refusal | null {
  if (does(run, 'misses')) return new Refusal(404, 'Vertex ChatInput-a1b2c not found');
  if (!does(run, 'fails') && !does(run, 'breaks')) return null;
  const message = 'Error running graph: the component ran into a wall';
  const traceback = [...TRACEBACK.split('\n'), message];
  const detail = { message, traceback, description: null, code: null, suggestion: null };
  return new Refusal(500, JSON.stringify(detail));
}

function resultBody(world: World, run: RunningRun) {
  const { input, sessionId } = run;
  const matches = ['chat', 'any', 'debug'].includes(input.output_type ?? 'chat');
  const outputs = matches ? [outputOf(messageOf(world, run))] : [];
  return { session_id: sessionId, outputs: [{ inputs: { input_value: input.input_value ?? '' }, outputs }] };
}

type Message = ReturnType<typeof messageOf>;

function messageOf(world: World, { flow, input, sessionId }: RunningRun) {
  const sender = { sender: 'Machine', sender_name: 'AI' };
  const [timestamp, text] = [world.zonedTime(), input.input_value ?? ''];
  return { id: randomUUID(), ...sender, text, session_id: sessionId, flow_id: flow.id, timestamp, error: false };
}

function outputOf(message: Message) {
  const { text, sender, sender_name, session_id } = message;
  const component = { component_id: 'ChatOutput-a1b2c' };
  return {
    results: { message },
    artifacts: { message: text, sender, sender_name, files: [], type: 'object' },
    outputs: { message: { message: text, type: 'text' } },
    logs: { message: [] },
    messages: [{ message: text, sender, sender_name, session_id, ...component, files: [], type: 'text' }],
    ...{ timedelta: null, duration: null, component_display_name: 'Chat Output', ...component },
    used_frozen_result: false,
  };
}

type Event = { event: string; data: object };

/** Bare JSON between blank lines, without `data:`. */
async function* framesOf(world: World, run: RunningRun, gone: AbortSignal): AsyncGenerator<string> {
  for await (const event of eventsOf(world, run, gone)) yield `${JSON.stringify(event)}\n\n`;
}

/** A failure comes as an event, the status having been 200. */
async function* eventsOf(world: World, run: RunningRun, gone: AbortSignal): AsyncGenerator<Event> {
  const failure: Event = { event: 'error', data: { error: 'Error running graph: the component ran into a wall' } };
  const message = messageOf(world, run);
  const tokens = does(run, 'fails') || does(run, 'misses') ? [] : thirdsOf(message.text);
  if (tokens.length > 0) yield { event: 'add_message', data: message };
  for (const [index, chunk] of tokens.slice(0, does(run, 'breaks') ? 2 : 3).entries()) {
    if (index === 1) await Promise.race([run.released, abortOf(gone)]);
    if (gone.aborted) return;
    yield { event: 'token', data: { chunk, id: message.id, timestamp: message.timestamp } };
  }
  const failed = failureOf(run) !== null;
  end(world, run, failed ? 'failed' : 'done');
  if (failed && !world.switches.tellsFailedStreams) return;
  // Seen in 1.13: the traceback comes as a message of the conversation, too.
  if (failed) yield { event: 'add_message', data: { ...message, text: TRACEBACK, category: 'error', error: true } };
  yield failed ? failure : { event: 'end', data: { result: resultBody(world, run) } };
}

function thirdsOf(text: string): string[] {
  const size = Math.ceil(text.length / 3);
  return [text.slice(0, size), text.slice(size, 2 * size), text.slice(2 * size)];
}

function abortOf(signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) done();
    signal.addEventListener('abort', () => done(), { once: true });
  });
}
