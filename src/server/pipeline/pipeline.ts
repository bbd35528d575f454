import type { Message } from '@bufbuild/protobuf';
import { Gauge } from 'prom-client';
import { LatchkeyError } from '../../base/error.ts';
import { limitCalls } from '../../domain/access/limit-calls.ts';
import { watchValidity } from '../../domain/access/watch-validity.ts';
import type { App, Principal } from '../../domain/call.ts';
import type { StreamHandler, UnaryHandler } from '../../handlers/implement.ts';
import { type LoadShedder, overloaded } from '../load-shedder.ts';
import { authenticate } from './authenticate.ts';
import { authorise } from './authorise.ts';
import { Exchange, type Incoming } from './exchange.ts';
import type { Method } from './method.ts';
import { type MethodMetrics, methodMetrics, report } from './report.ts';
import { asLatchkeyError } from './status.ts';
import { validate } from './validate.ts';

/** Reads the request message. Throws FIELD_INVALID where it cannot be understood. */
export type Decode = () => Message;
/** Makes of a response what its transport sends. */
export type Encode<T> = (response: Message) => T;

const TIME_CHECK_MS = 100;
/** Stands for the tenant of calls without one. */
const NOBODYS = '-';

/** Who calls a public method. */
const NOBODY: Principal = {
  ...{ tenantId: '', kind: 'system', id: '', userId: null, permissions: new Set(), ownPermissions: new Set() },
  ...{ projectIds: [], administrator: false, expiresAt: Number.POSITIVE_INFINITY, rates: null },
};

/**
 * The way of every call, the same for each transport. In this order, because each step protects the next:
 *  1. request id, so that whatever happens can be found in the log (Exchange);
 *  2. deadline, so that nothing below can wait for ever: the caller's, which transports tell by `interrupt`, and our own (#limitTime);
 *  3. load shedding, before any work is done for a call that cannot be served; once more when it is known whose it is, for then tenants with more than their share go first;
 *  4. authenticate, before anything of the request is read;
 *  5. authorise, so that only who may call makes us read a message;
 *  6. limit the rate, once it is known whose call it is, and before its message costs anything: a stream counts when it begins, public methods do not;
 *  7. decode and validate, so that verbs see only what the contract allows;
 *  8. run the handler;
 *  9. errors become ours, so that no transport sees another kind;
 * 10. metrics, log and record of refusals, last, for they tell how it ended.
 */
export class Pipeline {
  readonly #app: App;
  readonly #metrics = new Map<Method, MethodMetrics>();
  readonly #inFlight = new Set<Exchange>();
  readonly #shedder: LoadShedder;
  #whenIdle: (() => void) | null = null;

  constructor(app: App, methods: readonly Method[], shedder: LoadShedder) {
    this.#app = app;
    this.#shedder = shedder;
    for (const method of methods) this.#metrics.set(method, methodMetrics(app, method));
    const inFlight = this.#inFlight;
    new Gauge({
      name: 'latchkey_calls_in_flight',
      help: 'Calls under way.',
      registers: [app.metrics.registry],
      collect() {
        this.set(inFlight.size);
      },
    });
    setInterval(() => this.#limitTime(), TIME_CHECK_MS).unref();
  }

  /** Steps 1 to 6; at once where the caller is remembered. What it throws has been reported. */
  admit(incoming: Incoming): Exchange | Promise<Exchange> {
    const exchange = new Exchange(incoming);
    this.#metricsOf(exchange).started.inc();
    try {
      this.#shed(exchange);
      const authenticating = authenticate(this.#app, exchange);
      if (!authenticating) return this.#admitted(exchange);
      return exchange.race(authenticating).then(
        () => this.#admitted(exchange),
        (error) => this.#refuse(exchange, error),
      );
    } catch (error) {
      return this.#refuse(exchange, error);
    }
  }

  /** Steps 7 to 10 of a method that answers one message; at once where its handler does. What it throws has been reported. */
  run<T>(exchange: Exchange, decode: Decode, encode: Encode<T>): T | Promise<T> {
    let request: Message | null = null;
    const done = (message: object) => {
      const response = encode(message as Message);
      this.#finish(exchange, request, null);
      return response;
    };
    const failed = (error: unknown): never => {
      throw new Refused(exchange, this.fail(exchange, error, request));
    };
    try {
      request = this.#read(exchange, decode);
      const handler = exchange.incoming.method.handler as UnaryHandler;
      const handled = handler(this.#callOf(exchange), request as never);
      return handled instanceof Promise ? exchange.race(handled).then(done).catch(failed) : done(handled);
    } catch (error) {
      return failed(error);
    }
  }

  /** Steps 7 to 10 of a method that answers a stream, which ends where what let it begin is taken back. What it throws has been reported. */
  async *stream<T>(exchange: Exchange, decode: Decode, encode: Encode<T>): AsyncGenerator<T> {
    let request: Message | null = null;
    let messages: AsyncIterator<object> | undefined;
    let untaken: NodeJS.Timeout | undefined;
    const call = this.#callOf(exchange);
    const unwatch = watchValidity(call, (error) => exchange.interrupt(error));
    try {
      request = this.#read(exchange, decode);
      const handler = exchange.incoming.method.handler as StreamHandler;
      messages = handler(call, request as never)[Symbol.asyncIterator]();
      for (;;) {
        const next = await exchange.race(messages.next());
        if (next.done) break;
        untaken = setTimeout(
          () => exchange.abandon(new LatchkeyError('READER_TOO_SLOW', { retryAfterMs: 0 })),
          this.#app.config.streamStallMs,
        );
        yield encode(next.value as Message);
        clearTimeout(untaken);
      }
      this.#finish(exchange, request, null);
    } catch (error) {
      throw new Refused(exchange, this.fail(exchange, error, request));
    } finally {
      unwatch();
      clearTimeout(untaken);
      // The reader left between two messages, or the handler waits for what will not come.
      const cancelled = new LatchkeyError('CANCELLED');
      exchange.interrupt(cancelled);
      if (!exchange.finished) this.fail(exchange, cancelled, request);
      messages?.return?.().catch(() => {});
    }
  }

  /** Ends an exchange that failed outside, as where a transport cannot read the message. */
  fail(exchange: Exchange, error: unknown, request: Message | null): LatchkeyError {
    const failure = asLatchkeyError(error);
    if (!exchange.finished) this.#finish(exchange, request, failure);
    return failure;
  }

  /** Resolves once no call is under way. */
  idle(): Promise<void> {
    return new Promise((done) => {
      this.#whenIdle = done;
      if (this.#inFlight.size === 0) done();
    });
  }

  /** Ends every call that is under way with SHUTTING_DOWN. */
  interruptAll(): void {
    for (const exchange of this.#inFlight)
      exchange.interrupt(new LatchkeyError('SHUTTING_DOWN', { retryAfterMs: 1_000 }));
  }

  /** One timer for all calls, not one each: a call may last this much longer than its limit. */
  #limitTime(): void {
    const startedBefore = performance.now() - this.#app.config.maxCallMs;
    for (const exchange of this.#inFlight) {
      // In order of their start.
      if (exchange.startedAt > startedBefore) return;
      const bounded = exchange.incoming.method.labels.grpc_type === 'unary' || !exchange.running;
      if (bounded) exchange.interrupt(new LatchkeyError('DEADLINE_EXCEEDED'));
    }
  }

  #admitted(exchange: Exchange): Exchange {
    try {
      authorise(exchange);
      const { principal, incoming } = exchange;
      const { priority, access } = incoming.method;
      const tenantId = principal?.tenantId ?? NOBODYS;
      exchange.shed = priority !== 'always' && !this.#shedder.admits(exchange, tenantId, priority === 'urgent');
      if (exchange.shed) throw overloaded();
      if (principal && !access.public) limitCalls(this.#app, principal);
    } catch (error) {
      this.#refuse(exchange, error);
    }
    exchange.parked = (error) => this.fail(exchange, error, null);
    return exchange;
  }

  #refuse(exchange: Exchange, error: unknown): never {
    if (error instanceof Refused) throw error;
    throw new Refused(exchange, this.fail(exchange, error, null));
  }

  /** Refuses what cannot be borne, as soon as it is known. */
  #shed(exchange: Exchange): void {
    const sheddable = exchange.incoming.method.priority !== 'always';
    if (sheddable && this.#inFlight.size >= this.#app.config.maxInFlight) {
      this.#shedder.full();
      exchange.shed = true;
      throw new LatchkeyError('OVERLOADED', { retryAfterMs: 1_000 });
    }
    this.#inFlight.add(exchange);
    exchange.shed = sheddable && !this.#shedder.enter(exchange);
    if (exchange.shed) throw overloaded();
  }

  /** Nothing is begun for a call that was interrupted before, or whose caller waits no longer. */
  #read(exchange: Exchange, decode: Decode): Message {
    if (exchange.interruption) throw exchange.interruption;
    if (exchange.incoming.expired()) throw new LatchkeyError('DEADLINE_EXCEEDED');
    exchange.running = true;
    const request = decode();
    validate(exchange.incoming.method, request);
    return request;
  }

  #callOf(exchange: Exchange) {
    return exchange.call(this.#app, exchange.principal ?? NOBODY);
  }

  #finish(exchange: Exchange, request: Message | null, error: LatchkeyError | null): void {
    exchange.finished = true;
    this.#inFlight.delete(exchange);
    this.#shedder.leave(exchange);
    if (this.#inFlight.size === 0) this.#whenIdle?.();
    report(this.#app, this.#metricsOf(exchange), exchange, request, error);
  }

  #metricsOf(exchange: Exchange): MethodMetrics {
    return this.#metrics.get(exchange.incoming.method)!;
  }
}

/** A call that failed, for its transport to say so. No Error: that would note where it was made, which nobody reads, and which makes refusals dear. */
export class Refused {
  readonly exchange: Exchange;
  readonly error: LatchkeyError;

  constructor(exchange: Exchange, error: LatchkeyError) {
    this.exchange = exchange;
    this.error = error;
  }
}
