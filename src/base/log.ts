import { type DestinationStream, destination, type Logger, pino } from 'pino';

export type Log = Logger;

/** The log, with the means to write out what is buffered before the process ends. */
export type LogOutput = { log: Log; flush(): void };

const BUFFER_BYTES = 64 * 1024;
const FLUSH_MS = 100;

/**
 * JSON lines on standard output, buffered and written at least every 100 ms; pretty on a terminal.
 * @param level one of pino's: fatal, error, warn, info, debug, trace, silent
 */
export async function openLog(level: string, pretty: boolean): Promise<LogOutput> {
  const options = { level, base: null, messageKey: 'message', serializers: { err: errorSummary } };
  if (pretty) {
    const { default: prettyStream } = await import('pino-pretty');
    const stream = prettyStream({ colorize: true, messageKey: 'message', ignore: 'pid,hostname', sync: true });
    return { log: pino(options, stream as DestinationStream), flush: () => {} };
  }
  const out = destination({ dest: 1, sync: false, maxWrite: 2 * BUFFER_BYTES });
  const lines = new Lines(out);
  return { log: pino(options, lines), flush: () => lines.flushSync() };
}

/** Hands on many lines as one: sonic-boom would count the bytes of all that it holds at each. */
class Lines {
  readonly #out: ReturnType<typeof destination>;
  #text = '';

  constructor(out: ReturnType<typeof destination>) {
    this.#out = out;
    setInterval(() => this.#handOn(), FLUSH_MS).unref();
  }

  write(line: string): void {
    this.#text += line;
    if (this.#text.length >= BUFFER_BYTES) this.#handOn();
  }

  flushSync(): void {
    this.#handOn();
    this.#out.flushSync();
  }

  #handOn(): void {
    if (this.#text === '') return;
    const text = this.#text;
    this.#text = '';
    this.#out.write(text);
  }
}

const SQLSTATE = /^[0-9A-Z]{5}$/;

/**
 * What the log says of an error: its text, stack and causes, without the properties that drivers add. Of what PostgreSQL answered only code, table and
 * constraint: its text, and MikroORM's around it, quote statements and their values.
 */
export function errorSummary(error: unknown): object {
  if (!(error instanceof Error)) return { message: typeof error };
  const code: { code?: string } = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  if (SQLSTATE.test(code.code ?? ''))
    return { name: error.name, ...code, ...sqlContext(error), stack: framesOf(error) };
  const cause = error.cause === undefined ? {} : { cause: errorSummary(error.cause) };
  return { name: error.name, message: error.message, ...code, stack: error.stack, ...cause };
}

function sqlContext(error: Error): object {
  const context = error as { table?: unknown; constraint?: unknown };
  return { table: context.table, constraint: context.constraint };
}

/** The stack without the message at its head. */
function framesOf({ stack = '' }: Error): string {
  return stack
    .split('\n')
    .filter((line) => /^ +at /.test(line))
    .join('\n');
}
