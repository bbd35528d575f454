import { pointer } from '../../base/json-pointer.ts';
import type { LangflowDocument } from './langflow.ts';
import { LangflowError } from './langflow-error.ts';

/** One event of a streamed run. */
export type FlowEvent =
  | { kind: 'token'; messageId: string; text: string }
  | { kind: 'message'; id: string; sender: string; text: string; message: LangflowDocument }
  | { kind: 'end'; answer: LangflowDocument };

const LONGEST_FRAME = 8 * 1024 * 1024;
const BLANK_LINE = /\r?\n\r?\n/;
const LONGEST_BLANK_LINE = 4;

/**
 * The events of a streamed run. Langflow parts its frames by blank lines, and leaves out the `data:` of server-sent events: both spellings are read.
 * 1.0 answers the outcome as one JSON document. Fails with LangflowError where the run fails, or ends without an outcome.
 */
export async function* flowEvents(body: AsyncIterable<Buffer>): AsyncIterable<FlowEvent> {
  for await (const frame of frames(body)) {
    const event = eventOf(frame);
    if (event) yield event;
    if (event?.kind === 'end') return;
  }
  // That is all that 1.7 says of a run that failed.
  throw new LangflowError('refused', 'user', { status: 500 });
}

/** Looks at what is new alone, or a long frame in small pieces would be searched again and again. */
async function* frames(body: AsyncIterable<Buffer>): AsyncIterable<string> {
  const decoder = new TextDecoder();
  let pieces: string[] = [];
  let length = 0;
  let tail = '';
  for await (const chunk of body) {
    const piece = decoder.decode(chunk, { stream: true });
    pieces.push(piece);
    length += piece.length;
    if (length > LONGEST_FRAME) throw new LangflowError('not_json', 'user', { status: 200 });
    const ends = BLANK_LINE.test(tail + piece);
    tail = (tail + piece).slice(-LONGEST_BLANK_LINE);
    if (!ends) continue;
    const parts = pieces.join('').split(BLANK_LINE);
    const rest = parts.pop()!;
    pieces = [rest];
    length = rest.length;
    tail = rest.slice(-LONGEST_BLANK_LINE);
    yield* parts;
  }
  yield pieces.join('') + decoder.decode();
}

function eventOf(frame: string): FlowEvent | null {
  const lines = frame.split(/\r?\n/).map((line) => line.replace(/^data: ?/, ''));
  const text = lines.filter((line) => line !== '' && !/^(event|id|retry|):/.test(line)).join('\n');
  if (text.trim() === '') return null;
  const event = parse(text);
  const data = pointer(event, '/data');
  switch (pointer(event, '/event')) {
    case 'token':
      return { kind: 'token', messageId: string(data, '/id'), text: string(data, '/chunk') };
    case 'add_message':
      // What went wrong, with a traceback; the event `error` follows.
      if (pointer(data, '/error') === true || pointer(data, '/category') === 'error') return null;
      return {
        ...{ kind: 'message', id: string(data, '/id'), sender: string(data, '/sender'), text: string(data, '/text') },
        message: data as LangflowDocument,
      };
    case 'end':
      return { kind: 'end', answer: (pointer(data, '/result') ?? {}) as LangflowDocument };
    case 'error':
      throw new LangflowError('refused', 'user', { status: 500, said: string(data, '/error') || JSON.stringify(data) });
    case undefined:
      return { kind: 'end', answer: event };
    default:
      return null;
  }
}

function parse(text: string): LangflowDocument {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as LangflowDocument;
  } catch {
    // A web page, or what some proxy says.
  }
  throw new LangflowError('not_json', 'user', { status: 200 });
}

function string(value: unknown, at: string): string {
  const found = pointer(value, at);
  return typeof found === 'string' ? found : '';
}
