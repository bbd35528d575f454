import type { LookupAddress } from 'node:dns';
import { isIP, type Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { Agent, Client } from 'undici';
import { LatchkeyError } from '../base/error.ts';
import { type Allowlist, isNamed, parseAllowlist, permits } from './allowlist.ts';
import { type ConnectLimits, connectTo } from './connect.ts';
import { dialer, type Gate } from './dial.ts';
import { EgressError } from './egress-error.ts';
import { exchange, type Limits } from './exchange.ts';
import { lookup } from './lookup.ts';
import { OwnPorts } from './own-ports.ts';
import { type AnswerSink, type RelayLimits, relay } from './relay.ts';
import { type EgressInit, requestTo, targetOf } from './request.ts';
import { responseOf } from './response.ts';
import { openStream, type StreamedAnswer, type StreamLimits } from './stream.ts';

const TIMEOUT_MS = 7_000;
const MAX_BODY_BYTES = 256 * 1024;
const MAX_HEADER_BYTES = 16 * 1024;
const CONNECTIONS_PER_ORIGIN = 128;
const STREAMS_PER_ORIGIN = 4_096;
const IDLE_MS = 4_000;
/** However long a server offers to keep a connection. */
const MAX_IDLE_MS = 30_000;

/** A request whose body may be a stream. */
type RelayInit = Omit<EgressInit, 'body'> & {
  body: Readable | Uint8Array | null;
  /** Of the body; null: nobody knows, and it goes in chunks. */
  contentLength: number | null;
};

/** Every address of a host name. */
export type Lookup = (host: string) => Promise<LookupAddress[]>;

type Options = Partial<Limits> & {
  /** Host names, `*.` names, addresses and ranges that may be reached though they are not public; see `parseAllowlist`. */
  allow: readonly string[];
  /** DNS and the system's by default. Its answers are checked as those of any other. */
  lookup?: Lookup;
};

/**
 * The one door for outbound calls, by HTTP and by TCP. It reaches public addresses and what the operator allows, never our own listeners; it bounds
 * time and size, follows no redirect, verifies TLS and sends nothing twice.
 */
export class Egress {
  readonly #options: Options;
  readonly #limits: Limits;
  readonly #allowed: Allowlist;
  readonly #lookup: Lookup;
  readonly #ownPorts: OwnPorts;
  readonly #gate: Gate;
  readonly #connecting;
  readonly #pool: Agent;
  /** Their answers can take hours: others do not wait for their connections. */
  readonly #streams: Agent;
  readonly #running = new Set<Promise<unknown>>();
  readonly #sockets = new Set<Socket>();
  readonly #children: Egress[] = [];
  #closed = false;

  /** Throws StartError, which names the item of `allow` that cannot be read. */
  constructor(options: Options, ownPorts = new OwnPorts()) {
    this.#options = options;
    this.#limits = { timeoutMs: TIMEOUT_MS, maxBodyBytes: MAX_BODY_BYTES, ...definedLimits(options) };
    this.#allowed = parseAllowlist(options.allow);
    this.#lookup = options.lookup ?? lookup;
    this.#ownPorts = ownPorts;
    this.#gate = { resolve: (host, port) => this.#resolve(host, port), check: (...to) => this.#check(...to) };
    this.#connecting = {
      connect: dialer(this.#gate),
      ...{ allowH2: false, maxHeaderSize: MAX_HEADER_BYTES },
      // Time is counted for the whole call, not for its parts.
      ...{ headersTimeout: 0, bodyTimeout: 0, keepAliveTimeout: IDLE_MS, keepAliveMaxTimeout: MAX_IDLE_MS },
    };
    this.#pool = new Agent({ ...this.#connecting, connections: CONNECTIONS_PER_ORIGIN });
    this.#streams = new Agent({ ...this.#connecting, connections: STREAMS_PER_ORIGIN });
  }

  /**
   * Makes one HTTP call and reads the answer whole; a redirect is an answer. Can be handed on as the `fetch` of a library.
   * Fails with ADDRESS_FORBIDDEN, or EgressError.
   */
  readonly fetch = (url: string | URL, init: EgressInit = {}): Promise<Response> => {
    const call = this.#fetch(url, init).finally(() => this.#running.delete(call));
    this.#running.add(call);
    return call;
  };

  /** Makes one HTTP call whose answer is read as it comes; a redirect is an answer. Fails with ADDRESS_FORBIDDEN, or EgressError. */
  readonly stream = async (
    url: string | URL,
    init: EgressInit & StreamLimits & { signal: AbortSignal },
  ): Promise<StreamedAnswer> => {
    const target = this.#targetOf(url);
    return openStream(this.#streams, requestTo(target, init), { ...init, host: target.hostname });
  };

  /**
   * Makes one HTTP call whose request and answer may be streams, and hands the answer on; a redirect is an answer. Nothing is decompressed.
   * Fails with ADDRESS_FORBIDDEN, or EgressError.
   */
  readonly relay = async (
    url: string | URL,
    { body, contentLength, ...init }: RelayInit & RelayLimits & { signal: AbortSignal },
    sink: AnswerSink,
  ): Promise<void> => {
    const target = this.#targetOf(url);
    const request = requestTo(target, init);
    const length = contentLength === null ? [] : ['content-length', String(contentLength)];
    request.headers = [...(request.headers as string[]), ...length];
    request.body = body;
    await relay(this.#streams, request, sink, { ...init, host: target.hostname });
  };

  /**
   * Connects by TCP to a host name or address, for protocols other than HTTP. What is said then is the caller's to bound.
   * Fails with ADDRESS_FORBIDDEN, or EgressError.
   */
  async connect(host: string, port: number, limits: ConnectLimits): Promise<Socket> {
    const { hostname } = this.#targetOf(`http://${isIP(host) === 6 ? `[${host}]` : host}:${port}/`);
    // As URLs spell it: `127.1` would be looked up as a name.
    const socket = await connectTo(this.#gate, unbracketed(hostname), port, limits);
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    if (this.#closed) socket.destroy();
    return socket;
  }

  /** The same door, open to further hosts: those that the operator's own settings name. It closes with this one. */
  allowing(hosts: readonly string[]): Egress {
    // Connections are not shared, or this door would find one that the other opened.
    const child = new Egress({ ...this.#options, allow: [...this.#options.allow, ...hosts] }, this.#ownPorts);
    this.#children.push(child);
    return child;
  }

  /** Closes the door to these ports of this machine, even where they are allowed: our own listeners. */
  refuse(ports: readonly number[]): void {
    this.#ownPorts.add(ports);
  }

  /** Refuses a URL whose host is an address that may not be reached. A name is looked up, and checked, at each call. Fails with ADDRESS_FORBIDDEN. */
  refuseForbidden(url: URL): void {
    const literal = unbracketed(url.hostname);
    if (isIP(literal)) this.#check(url.hostname, literal, portOf(url));
  }

  /** Whether the operator's settings name the host of a URL as one that may be reached though it is not public. */
  isNamed(url: URL): boolean {
    return isNamed(this.#allowed, unbracketed(url.hostname));
  }

  /** Begins no further call, waits for those that run, which their time limits end, and closes all connections. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const socket of this.#sockets) socket.destroy();
    await Promise.allSettled([...this.#running, ...this.#children.map((child) => child.close())]);
    await Promise.all([this.#pool.destroy(), this.#streams.destroy()]);
  }

  async #fetch(url: string | URL, init: EgressInit): Promise<Response> {
    const target = this.#targetOf(url);
    const host = target.hostname;
    const limits = { ...this.#limits, ...definedLimits(init) };
    const dispatcher = init.fresh ? new Client(target.origin, this.#connecting) : this.#pool;
    try {
      const answer = await exchange(dispatcher, requestTo(target, init), {
        ...limits,
        host,
        signal: init.signal,
        mayLeave: init.mayLeave,
      });
      return await responseOf(answer, host, limits.maxBodyBytes);
    } finally {
      if (init.fresh) await dispatcher.destroy();
    }
  }

  #targetOf(url: string | URL): URL {
    const target = targetOf(url);
    if (this.#closed) throw new EgressError('aborted', { host: target.hostname, sent: false });
    // Node looks up no literal, so the dialler would find out only once it is connected.
    this.refuseForbidden(target);
    return target;
  }

  async #resolve(host: string, port: number): Promise<LookupAddress[]> {
    const addresses = await this.#lookup(host);
    for (const { address } of addresses) this.#check(host, address, port);
    return addresses;
  }

  #check(host: string, address: string, port: number): void {
    if (this.#ownPorts.includes(address, port) || !permits(this.#allowed, host, address))
      throw new LatchkeyError('ADDRESS_FORBIDDEN', { metadata: { host } });
  }
}

function definedLimits({ timeoutMs, maxBodyBytes }: Partial<Limits>): Partial<Limits> {
  return { ...(timeoutMs === undefined ? {} : { timeoutMs }), ...(maxBodyBytes === undefined ? {} : { maxBodyBytes }) };
}

function unbracketed(hostname: string): string {
  return hostname.replace(/^\[(.*)\]$/, '$1');
}

function portOf(target: URL): number {
  return Number(target.port || (target.protocol === 'https:' ? 443 : 80));
}
