import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import { LatchkeyError } from '../base/error.ts';
import { EgressError } from './egress-error.ts';
import { failureOf } from './exchange.ts';

export type StreamLimits = {
  /** To the first byte of the answer, and then between any two. */
  idleMs: number;
  /** Of the whole answer. */
  maxBodyBytes: number;
};

/** An answer whose body is read as it comes. Who leaves off reading must end the call by its signal. */
export type StreamedAnswer = {
  status: number;
  headers: IncomingHttpHeaders;
  /** Fails with EgressError. */
  body: AsyncIterable<Buffer>;
};

type Options = StreamLimits & { host: string; signal: AbortSignal };

/** Sends one request once and answers when the head of the answer is there. Fails with EgressError, or ADDRESS_FORBIDDEN from the dialler. */
export async function openStream(
  dispatcher: Dispatcher,
  request: Dispatcher.DispatchOptions,
  { host, signal, idleMs, maxBodyBytes }: Options,
): Promise<StreamedAnswer> {
  const limits = { headersTimeout: idleMs, bodyTimeout: idleMs, signal };
  try {
    const options = { ...request, ...limits } as Dispatcher.RequestOptions;
    const { statusCode: status, headers, body } = await dispatcher.request(options);
    return { status, headers, body: bounded(body, { host, signal, maxBodyBytes }) };
  } catch (error) {
    throw asEgressError(error, host, signal, false);
  }
}

async function* bounded(
  body: AsyncIterable<Buffer>,
  { host, signal, maxBodyBytes }: Omit<Options, 'idleMs'>,
): AsyncIterable<Buffer> {
  let bytes = 0;
  try {
    for await (const chunk of body) {
      bytes += chunk.length;
      if (bytes > maxBodyBytes) throw new EgressError('too_large', { host, sent: true });
      yield chunk;
    }
  } catch (error) {
    throw asEgressError(error, host, signal, true);
  }
}

function asEgressError(error: unknown, host: string, signal: AbortSignal, sent: boolean): Error {
  if (error instanceof LatchkeyError || error instanceof EgressError) return error;
  if (signal.aborted) return new EgressError('aborted', { host, sent });
  const [kind, detail] = failureOf(error instanceof Error ? error : new Error('unknown'), sent);
  return new EgressError(kind, { host, sent, detail });
}
