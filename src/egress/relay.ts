import type { IncomingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';
import { LatchkeyError } from '../base/error.ts';
import { EgressError, type EgressFailure } from './egress-error.ts';
import { failureOf } from './exchange.ts';

export type RelayLimits = {
  /** From the last byte of the request to the head of the answer. */
  headMs: number;
  /** Between any two bytes, of the request and of the answer. */
  idleMs: number;
};

/** Who takes an answer as it comes. */
export type AnswerSink = {
  /** The head. False: the rest is not wanted, and the call ends here. */
  start(status: number, headers: IncomingHttpHeaders): boolean;
  /** A piece of the body. False: no more before `resume` is called. */
  data(chunk: Buffer, resume: () => void): boolean;
};

type Options = RelayLimits & { host: string; signal: AbortSignal };

/**
 * Sends one request once, whose body may be a stream, and hands its answer on as it comes, at the pace of who takes it. Resolves when the answer has ended.
 * Fails with EgressError, or ADDRESS_FORBIDDEN from the dialler.
 */
export async function relay(
  dispatcher: Dispatcher,
  request: Dispatcher.DispatchOptions,
  sink: AnswerSink,
  { signal, ...options }: Options,
): Promise<void> {
  const call = new Relay(options, sink);
  const abort = () => call.stop('aborted');
  signal.addEventListener('abort', abort);
  try {
    if (signal.aborted) abort();
    else dispatcher.dispatch(request, call);
    await call.ended;
  } finally {
    call.clear();
    signal.removeEventListener('abort', abort);
  }
}

class Relay implements Dispatcher.DispatchHandler {
  readonly #limits: RelayLimits & { host: string };
  readonly #sink: AnswerSink;
  readonly #outcome = Promise.withResolvers<void>();
  readonly #idle: NodeJS.Timeout;
  #head: NodeJS.Timeout | undefined;
  #controller: Dispatcher.DispatchController | null = null;
  #ended = false;
  #started = false;
  #waiting = false;

  constructor(limits: RelayLimits & { host: string }, sink: AnswerSink) {
    this.#limits = limits;
    this.#sink = sink;
    this.#idle = setInterval(() => this.#timeOut(), limits.idleMs);
  }

  get ended(): Promise<void> {
    return this.#outcome.promise;
  }

  stop(kind: EgressFailure, detail?: string): void {
    this.#fail(new EgressError(kind, { host: this.#limits.host, sent: this.#controller !== null, detail }));
  }

  clear(): void {
    clearInterval(this.#idle);
    clearTimeout(this.#head);
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#ended || this.#controller) {
      controller.abort(new EgressError('aborted', { host: this.#limits.host, sent: false }));
      if (!this.#controller) this.stop('aborted');
    } else this.#controller = controller;
  }

  onBodySent(): void {
    this.#idle.refresh();
  }

  onRequestSent(): void {
    this.#idle.refresh();
    // An answer may begin while the request is under way.
    if (this.#started) return;
    this.#head = setTimeout(() => this.stop('timeout'), this.#limits.headMs);
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    // Interim answers, however many, do not put the end off.
    if (status < 200 || this.#ended) return;
    this.#started = true;
    clearTimeout(this.#head);
    this.#idle.refresh();
    if (this.#sink.start(status, headers)) return;
    this.#ended = true;
    this.#outcome.resolve();
    this.#controller?.abort(new EgressError('aborted', { host: this.#limits.host, sent: true }));
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#idle.refresh();
    const resume = () => {
      this.#waiting = false;
      this.#idle.refresh();
      controller.resume();
    };
    if (this.#sink.data(chunk, resume)) return;
    this.#waiting = true;
    controller.pause();
  }

  onResponseEnd(): void {
    this.#ended = true;
    this.#outcome.resolve();
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    if (error instanceof LatchkeyError) this.#fail(error);
    else this.stop(...failureOf(error, this.#controller !== null));
  }

  /** Who does not take what is there ends the call, too: it holds two connections. */
  #timeOut(): void {
    this.stop('timeout', this.#waiting ? 'the answer is not taken' : undefined);
  }

  #fail(error: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#outcome.reject(error);
    this.#controller?.abort(error);
  }
}
