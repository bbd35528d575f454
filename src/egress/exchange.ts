import type { IncomingHttpHeaders } from 'node:http';
import { type Dispatcher, errors } from 'undici';
import { LatchkeyError } from '../base/error.ts';
import { EgressError, type EgressFailure } from './egress-error.ts';

export type Limits = {
  /** For everything from resolving to the last byte. */
  timeoutMs: number;
  /** Of the body as it is sent, and again as it is decompressed. */
  maxBodyBytes: number;
};

export type Answer = { status: number; headers: IncomingHttpHeaders; body: Buffer };

type Options = Limits & { host: string; signal?: AbortSignal | null; mayLeave?: (() => boolean) | undefined };

/** Sends one request once and reads its answer whole. Fails with EgressError, or ADDRESS_FORBIDDEN from the dialler. */
export async function exchange(
  dispatcher: Dispatcher,
  request: Dispatcher.DispatchOptions,
  { signal, mayLeave, ...options }: Options,
): Promise<Answer> {
  const call = new Exchange(options, request.method === 'HEAD', mayLeave ?? (() => true));
  const abort = () => call.stop(signal?.reason?.name === 'TimeoutError' ? 'timeout' : 'aborted');
  // An answer that is there already is read first: after a freeze the timer runs before the sockets are looked at.
  const timer = setTimeout(() => setImmediate(() => call.stop('timeout')), options.timeoutMs);
  signal?.addEventListener('abort', abort);
  try {
    if (signal?.aborted) abort();
    else dispatcher.dispatch(request, call);
    return await call.answer;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', abort);
  }
}

/** What undici tells of one request. It is driven directly, because this tells when the first byte is about to leave. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #limits: Limits & { host: string };
  readonly #bodiless: boolean;
  readonly #mayLeave: () => boolean;
  readonly #outcome = Promise.withResolvers<Answer>();
  /** Room for the body; `#bytes` of it are there. */
  #body: Buffer = Buffer.alloc(0);
  #controller: Dispatcher.DispatchController | null = null;
  #ended = false;
  #status = 0;
  #headers: IncomingHttpHeaders = {};
  #bytes = 0;

  constructor(limits: Limits & { host: string }, bodiless: boolean, mayLeave: () => boolean) {
    this.#limits = limits;
    this.#mayLeave = mayLeave;
    this.#bodiless = bodiless;
  }

  get answer(): Promise<Answer> {
    return this.#outcome.promise;
  }

  stop(kind: EgressFailure, detail?: string): void {
    this.#end(this.#failure(kind, detail));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // A request that was given up while it waited for a connection is not sent; neither is one a second time.
    if (this.#ended || this.#controller || !this.#mayLeave()) {
      controller.abort(this.#failure('aborted'));
      if (!this.#controller) this.stop('aborted');
    } else this.#controller = controller;
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return;
    this.#status = status;
    this.#headers = headers;
    if (!this.#bodiless && Number(headers['content-length'] ?? 0) > this.#limits.maxBodyBytes) this.stop('too_large');
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    const bytes = this.#bytes + chunk.length;
    if (bytes > this.#limits.maxBodyBytes) {
      this.stop('too_large');
      return;
    }
    // Copied, for a list of chunks of one byte each would take a hundred times the room.
    if (bytes > this.#body.length) this.#body = Buffer.concat([this.#body], Math.max(bytes, 2 * this.#body.length));
    chunk.copy(this.#body, this.#bytes);
    this.#bytes = bytes;
  }

  onResponseEnd(): void {
    this.#ended = true;
    this.#outcome.resolve({ status: this.#status, headers: this.#headers, body: this.#body.subarray(0, this.#bytes) });
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    if (error instanceof LatchkeyError) this.#end(error);
    else this.stop(...failureOf(error, this.#controller !== null));
  }

  #failure(kind: EgressFailure, detail?: string): EgressError {
    return new EgressError(kind, { host: this.#limits.host, sent: this.#controller !== null, detail });
  }

  #end(error: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#outcome.reject(error);
    this.#controller?.abort(error);
  }
}

const KIND_OF_CODE: Record<string, EgressFailure> = {
  ETIMEDOUT: 'timeout',
  UND_ERR_CONNECT_TIMEOUT: 'timeout',
  UND_ERR_HEADERS_TIMEOUT: 'timeout',
  UND_ERR_BODY_TIMEOUT: 'timeout',
  UND_ERR_DESTROYED: 'aborted',
  UND_ERR_CLOSED: 'aborted',
  // A status below 100, or a switch of protocols that nobody asked for.
  ERR_ASSERTION: 'protocol',
  UND_ERR_HEADERS_OVERFLOW: 'too_large',
  UND_ERR_INVALID_ARG: 'protocol',
  UND_ERR_NOT_SUPPORTED: 'protocol',
  UND_ERR_REQ_CONTENT_LENGTH_MISMATCH: 'protocol',
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: 'protocol',
};

/** The kind of an error of undici, of a socket or of TLS, and the code to show; its text may quote what was sent. */
export function failureOf(error: Error, sent: boolean): [EgressFailure, string | undefined] {
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  const known = KIND_OF_CODE[code ?? ''];
  if (known) return [known, code];
  // By its words undici refuses an interim answer that it did not ask for.
  const notHttp = error instanceof errors.HTTPParserError || /^bad (response|upgrade)$/.test(error.message);
  if (notHttp) return ['protocol', undefined];
  return [sent ? 'reset' : 'connect', code];
}
