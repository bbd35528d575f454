import { randomUUID } from 'node:crypto';
import type { LatchkeyError } from '../../base/error.ts';
import type { App, Call, Principal } from '../../domain/call.ts';
import type { Method } from './method.ts';

/** What a transport knows of a call before its message is read. */
export type Incoming = {
  method: Method;
  transport: 'grpc' | 'connect' | 'grpc-web';
  /** A request header or metadata entry, by lower-case name. */
  header(name: string): string | undefined;
  /** Network address of the caller. */
  address: string;
  /** Whether the caller's deadline has passed, by the clock: the timer for it may be late. */
  expired(): boolean;
};

/** One call on its way through the pipeline. */
export class Exchange {
  readonly incoming: Incoming;
  readonly requestId: string;
  readonly startedAt = performance.now();
  /** Made when somebody looks: most calls are over before anybody does. */
  #abort: AbortController | null = null;
  #interruption: LatchkeyError | null = null;
  principal: Principal | null = null;
  /** Told of an interruption while nothing is at work for the call: its message is still to come. */
  parked: ((error: LatchkeyError) => void) | null = null;
  /** What the call is ended with from outside: its deadline, its caller's leaving, the server's stopping. */
  #interrupt: ((error: LatchkeyError) => void) | null = null;
  /** Its message was read and its handler is, or was, at work. */
  running = false;
  finished = false;
  /** It was refused because there were too many. */
  shed = false;

  constructor(incoming: Incoming) {
    this.incoming = incoming;
    this.requestId = requestIdOf(incoming.header('x-request-id'));
  }

  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController();
      if (this.#interruption) this.#abort.abort(this.#interruption);
    }
    return this.#abort.signal;
  }

  /** Ends the call with an error, whatever it is doing. */
  interrupt(error: LatchkeyError): void {
    if (this.finished || this.#interruption) return;
    this.#interruption = error;
    this.#abort?.abort(error);
    this.#interrupt?.(error);
    if (!this.running) this.parked?.(error);
  }

  /** Ends a stream whose reader takes nothing: what would tell it waits for the reader, too. */
  abandon(error: LatchkeyError): void {
    this.interrupt(error);
    if (!this.finished) this.parked?.(error);
  }

  /** Waits for work, or for an interruption if that comes first; the work then goes on by itself, and sees the signal. */
  race<T>(work: Promise<T>): Promise<T> {
    return new Promise((done, fail) => {
      if (this.#interruption) fail(this.#interruption);
      this.#interrupt = fail;
      work.then(done, fail);
    });
  }

  /** What it was interrupted with, if it was. */
  get interruption(): LatchkeyError | null {
    return this.#interruption;
  }

  /** The context of the verb. */
  call(app: App, principal: Principal): Call {
    return new ExchangeCall(app, principal, this);
  }
}

/** A call whose signal is made when somebody looks. */
class ExchangeCall implements Call {
  readonly app: App;
  readonly principal: Principal;
  readonly requestId: string;
  readonly address: string;
  readonly #exchange: Exchange;

  constructor(app: App, principal: Principal, exchange: Exchange) {
    this.app = app;
    this.principal = principal;
    this.requestId = exchange.requestId;
    this.address = exchange.incoming.address;
    this.#exchange = exchange;
  }

  get signal(): AbortSignal {
    return this.#exchange.signal;
  }
}

const REQUEST_ID = /^[\x21-\x7e]{1,100}$/;

/** The caller's id for the request, where it can be one, else a new one. */
export function requestIdOf(given: string | undefined): string {
  return given !== undefined && REQUEST_ID.test(given) ? given : newRequestId();
}

export function newRequestId(): string {
  return randomUUID();
}
