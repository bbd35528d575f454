import { type DestinationStream, destination, type Logger, pino } from 'pino';

export type Log = Logger;

/** The log, with the means to write out what is buffered before the process ends. */
export type LogOutput = { log: Log; flush(): void };

const BUFFER_BYTES = 64 * 1024;

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
  const out = destination({
    dest: 1,
    sync: false,
    minLength: BUFFER_BYTES,
    maxWrite: 2 * BUFFER_BYTES,
    periodicFlush: 100,
  });
  return { log: pino(options, out), flush: () => out.flushSync() };
}

/** What the log says of an error: its text, stack and causes, without the properties that drivers add, which may quote values. */
export function errorSummary(error: unknown): object {
  if (!(error instanceof Error)) return { message: typeof error };
  const code = 'code' in error && typeof error.code === 'string' ? { code: error.code } : {};
  const cause = error.cause === undefined ? {} : { cause: errorSummary(error.cause) };
  return { name: error.name, message: error.message, ...code, stack: error.stack, ...cause };
}
