import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import { Counter, Gauge } from 'prom-client';
import { fieldInvalid, LatchkeyError } from '../base/error.ts';
import { FairPlaces } from '../base/fair-places.ts';
import { REASONS } from '../base/reasons.ts';
import { authenticate } from '../domain/access/authenticate.ts';
import { limitCalls } from '../domain/access/limit-calls.ts';
import { watchValidity } from '../domain/access/watch-validity.ts';
import type { App, Call } from '../domain/call.ts';
import { type ProxySink, proxyRequest } from '../domain/requests/proxy-request.ts';
import { namedByConnection } from '../domain/requests/shown-headers.ts';
import { callerAddress } from './address.ts';
import { sendFailure } from './failure.ts';
import { type LoadShedder, overloaded } from './load-shedder.ts';
import { presentedCredential } from './pipeline/authenticate.ts';
import { requestIdOf } from './pipeline/exchange.ts';
import { asLatchkeyError } from './pipeline/status.ts';

const PATH = /^\/proxy\/(conn_[0-9a-hjkmnp-tv-z]{26})(\/[^?]*)?(\?.*)?$/;
/** What is for us alone, and never passed on. */
const OURS = new Set(['authorization', 'x-api-key', 'latchkey-user', 'x-request-id', 'origin', 'referer']);

const BAD_GATEWAY = 502;

/** Passes HTTP requests on with a connection's credential: `/proxy/{connection_id}/{path}`. */
export class RequestProxy {
  readonly #app: App;
  readonly #total: Counter<'code'>;
  readonly #places: FairPlaces;
  readonly #shedder: LoadShedder;
  #inFlight = 0;
  #whenIdle: (() => void) | null = null;

  constructor(app: App, shedder: LoadShedder) {
    this.#app = app;
    this.#places = new FairPlaces(app.config.proxyMaxInFlight);
    this.#shedder = shedder;
    const registers = [app.metrics.registry];
    const help = 'Requests passed on, by how they ended: OK or the code of an error of ours.';
    this.#total = new Counter({
      name: 'latchkey_proxy_requests_total',
      help,
      labelNames: ['code'] as const,
      registers,
    });
    const inFlight = () => this.#inFlight;
    new Gauge({
      ...{ name: 'latchkey_proxy_requests_in_flight', help: 'Requests that are being passed on.', registers },
      collect() {
        this.set(inFlight());
      },
    });
  }

  /** Answers whether the path was one of these. */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
    const url = request.url ?? '';
    if (!url.startsWith('/proxy/')) return false;
    const startedAt = performance.now();
    const header = (name: string) => [request.headers[name]].flat()[0];
    const requestId = requestIdOf(header('x-request-id'));
    response.setHeader('x-request-id', requestId);
    const transfer = new Transfer(request, response, url);
    const load = { startedAt };
    this.#inFlight += 1;
    let failure: LatchkeyError | null = null;
    let call: Call | null = null;
    let place: ReturnType<FairPlaces['take']> = null;
    let unwatch = () => {};
    try {
      if (!this.#shedder.enter(load)) throw overloaded();
      call = await this.#callOf(request, header, requestId, transfer);
      if (!this.#shedder.admits(load, call.principal.tenantId, false)) throw overloaded();
      place = this.#places.take(call.principal.tenantId);
      if (!place) throw overloaded();
      limitCalls(this.#app, call.principal);
      unwatch = watchValidity(call, (error) => transfer.interrupt(error));
      await proxyRequest(call, proxiedRequest(request, url, credentialOf(header)), transfer);
      transfer.end();
    } catch (error) {
      const cancelled = transfer.signal.aborted ? new LatchkeyError('CANCELLED') : null;
      failure = transfer.interruption ?? cancelled ?? asLatchkeyError(error);
      transfer.fail(failure, requestId);
    } finally {
      unwatch();
      place?.done();
      this.#inFlight -= 1;
      this.#shedder.leave(load);
      if (this.#inFlight === 0) this.#whenIdle?.();
      this.#report(request, transfer, { call, failure, requestId, ms: performance.now() - startedAt });
    }
    return true;
  }

  /** Resolves once nothing is being passed on. */
  idle(): Promise<void> {
    return new Promise((done) => {
      this.#whenIdle = done;
      if (this.#inFlight === 0) done();
    });
  }

  async #callOf(
    request: IncomingMessage,
    header: (name: string) => string | undefined,
    requestId: string,
    { signal }: Transfer,
  ): Promise<Call> {
    const app = this.#app;
    if (this.#inFlight > app.config.proxyMaxInFlight) throw overloaded();
    const { remoteAddress = '' } = request.socket;
    const address = callerAddress(remoteAddress, header('x-forwarded-for'), app.config.trustedProxies);
    const actsFor = header('latchkey-user') || undefined;
    const principal = await authenticate(app, { credential: credentialOf(header), actsFor, address });
    return { app, principal, requestId, address, signal };
  }

  #report(
    request: IncomingMessage,
    { status, bytes }: Transfer,
    {
      call,
      failure,
      requestId,
      ms,
    }: { call: Call | null; failure: LatchkeyError | null; requestId: string; ms: number },
  ): void {
    const code = failure ? REASONS[failure.reason].code : 'OK';
    this.#total.inc({ code });
    const [, connectionId] = PATH.exec(request.url ?? '') ?? [];
    const actor = call && { tenant: call.principal.tenantId, actor: call.principal.id, address: call.address };
    const line = {
      method: request.method,
      connectionId,
      status,
      code,
      bytes,
      ms: Math.round(ms * 100) / 100,
      requestId,
    };
    const reason = failure ? { reason: failure.reason } : {};
    if (failure?.reason === 'INTERNAL') this.#app.log.error({ ...line, ...actor, err: failure.cause }, 'proxy failed');
    else this.#app.log.info({ ...line, ...actor, ...reason }, 'proxy');
  }
}

/** Clients of providers present what they take for the provider's key in their provider's way: `Bearer`, `x-api-key`, or Basic, whose password it is. */
function credentialOf(header: (name: string) => string | undefined): string {
  const [, encoded] = /^Basic +([A-Za-z0-9+/=]+)$/i.exec(header('authorization') ?? '') ?? [];
  if (!encoded) return presentedCredential(header);
  const [user = '', password = ''] = Buffer.from(encoded, 'base64').toString().split(/:(.*)/s);
  return password || user;
}

function proxiedRequest(request: IncomingMessage, url: string, presented: string) {
  const [, connectionId, path = '', query = ''] = PATH.exec(url) ?? [];
  if (decoded(query).includes(presented)) throw fieldInvalid('query', 'holds the key that the call is made with');
  // As for any id that is none.
  if (!connectionId) throw new LatchkeyError('CONNECTION_NOT_FOUND', { metadata: { connection_id: '' } });
  const { 'content-length': length, 'transfer-encoding': chunked } = request.headers;
  const empty = length === '0' || (length === undefined && chunked === undefined && hasEnded(request));
  return {
    ...{
      connectionId,
      path: `${path}${query}`,
      method: request.method ?? 'GET',
      headers: headersOf(request, presented),
    },
    body: empty ? null : request,
    contentLength: length === undefined ? null : Number(length),
  };
}

function decoded(query: string): string {
  try {
    return decodeURIComponent(query);
  } catch {
    return query;
  }
}

/** Whether a request that says nothing of a body has none: over HTTP/2 the stream then ends with its headers. */
function hasEnded(request: IncomingMessage | Http2ServerRequest): boolean {
  return 'stream' in request ? request.stream.endAfterHeaders : true;
}

/** Without what is of one connection alone, and without the caller's credential, wherever it stands. */
function headersOf({ rawHeaders }: IncomingMessage, presented: string): [string, string][] {
  const pairs: [string, string][] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) pairs.push([rawHeaders[at]!, rawHeaders[at + 1]!]);
  const ofConnection = namedByConnection(pairs);
  return pairs.filter(([name, value]) => {
    const lower = name.toLowerCase();
    const ours = OURS.has(lower) || value.includes(presented) || lower.startsWith('x-forwarded-');
    return !ours && !ofConnection.has(lower) && !lower.startsWith(':');
  });
}

/** One answer on its way to the caller. */
class Transfer implements ProxySink {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #prefix: string;
  readonly #leaving = new AbortController();
  /** What ended it, where that was not the caller. */
  interruption: LatchkeyError | null = null;
  status = 0;
  bytes = 0;

  constructor(request: IncomingMessage, response: ServerResponse, url: string) {
    this.#request = request;
    this.#response = response;
    this.#prefix = url.split('/', 3).join('/');
    response.on('close', () => {
      if (!response.writableFinished) this.#leaving.abort();
    });
  }

  /** Ends it, whatever it is doing. */
  interrupt(error: LatchkeyError): void {
    this.interruption = error;
    this.#leaving.abort();
  }

  /** Aborted when the caller goes away, or is not let go on. */
  get signal(): AbortSignal {
    return this.#leaving.signal;
  }

  readonly start = (status: number, headers: [string, string][], baseUrl: string): void => {
    this.status = status;
    const response = this.#response;
    for (const [name, value] of headers) {
      if (name.startsWith('access-control-') || name === 'x-request-id') continue;
      const shown = name === 'location' ? this.#ownLocation(value, baseUrl) : value;
      response.appendHeader(name, shown);
    }
    // What a provider answers is not ours: shown by a browser, it may do nothing in our name.
    response.setHeader('content-security-policy', 'sandbox');
    this.#closeIfUnread();
    // Over HTTP/2, Node answers no status that is of no class.
    response.writeHead(this.#request.httpVersionMajor > 1 && status > 599 ? BAD_GATEWAY : status);
    response.flushHeaders();
  };

  readonly data = (chunk: Buffer, resume: () => void): boolean => {
    this.bytes += chunk.length;
    const more = this.#response.write(chunk);
    if (!more) this.#response.once('drain', resume);
    return more;
  };

  end(): void {
    this.#response.end();
  }

  /** Says what went wrong, in Connect's JSON; once the answer has begun, by breaking it off. */
  fail(error: LatchkeyError, requestId: string): void {
    this.#closeIfUnread();
    this.status = sendFailure(this.#response, error, requestId) ?? this.status;
  }

  /** An answer that comes before the request has ended may leave a rest of it, which nobody reads. */
  #closeIfUnread(): void {
    const { complete, httpVersionMajor } = this.#request;
    if (!complete && httpVersionMajor === 1) this.#response.setHeader('connection', 'close');
  }

  /** A redirect within the connection leads through the proxy again. */
  #ownLocation(location: string, baseUrl: string): string {
    const base = baseUrl.replace(/\/+$/, '');
    if (!base || !location.startsWith(base)) return location;
    const rest = location.slice(base.length);
    return rest === '' || /^[/?#]/.test(rest) ? `${this.#prefix}${rest}` : location;
  }
}
