import type { IncomingHttpHeaders } from 'node:http';
import type { Readable } from 'node:stream';
import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import { EgressError } from '../../egress/egress-error.ts';
import type { Call, ReadyCredential } from '../call.ts';
import { type CredentialUse, getCredentials } from '../tokens/get-credentials.ts';
import { mayBeRenewed, renewRefused } from '../tokens/renew-refused.ts';
import { usageOf } from './decide-retry.ts';
import { headersToSend, prepareRequest } from './prepare-request.ts';
import { shownHeaders } from './shown-headers.ts';
import { targetFailure } from './target-failure.ts';

export type ProxiedRequest = {
  connectionId: string;
  method: string;
  /** Below the base URL, with its query, as the caller spelled it. */
  path: string;
  headers: readonly (readonly [string, string])[];
  /** Null: it has none. */
  body: Readable | null;
  /** Null: nobody knows. */
  contentLength: number | null;
};

/** Who takes the answer as it comes. */
export type ProxySink = {
  /** The head: with the base of the connection's requests, for addresses in it. */
  start(status: number, headers: [string, string][], baseUrl: string): void;
  /** A piece of the body, as it came. False: no more before `resume` is called. */
  data(chunk: Buffer, resume: () => void): boolean;
};

const USE: CredentialUse = { permission: 'connection:use', action: 'request_proxied' };
const UNAUTHORIZED = 401;
/** A body up to this is kept, so that it can be sent again. */
const REPLAYED_BYTES = 64 * 1024;

type Body = { body: Readable | Buffer | null; contentLength: number | null };

/**
 * Passes a request on with a connection's credential in it, and its answer back, both as they come. Nothing is repeated, but once where the token was refused
 * (401), another is to be had and the body is small. Resolves when the answer has ended.
 * Fails with CONNECTION_NOT_HTTP, HOST_NOT_ALLOWED, TARGET_UNAVAILABLE, TARGET_TIMEOUT, ADDRESS_FORBIDDEN, FIELD_INVALID, and as getCredentials does.
 */
export async function proxyRequest(call: Call, request: ProxiedRequest, sink: ProxySink): Promise<void> {
  const { connectionId, contentLength, method } = request;
  if (/^(trace|track)$/i.test(method)) throw fieldInvalid('method', 'is not passed on');
  const credential = await getCredentials(call, connectionId, null, USE);
  const small = contentLength !== null && contentLength <= REPLAYED_BYTES;
  const kept = request.body && small ? await collect(call, request.body) : null;
  const body: Body = { body: kept ?? request.body, contentLength };
  const replayable = request.body === null || kept !== null;
  const declined = await pass(call, credential, request, body, sink, replayable && mayBeRenewed(call.app, credential));
  if (!declined) return;
  const renewed = await renewRefused(call, credential, USE);
  await pass(call, renewed ?? credential, request, body, sink, false);
}

/** Answers whether the answer was a refusal of the token, and was not passed on. */
async function pass(
  call: Call,
  credential: ReadyCredential,
  { method, path, headers: callers }: ProxiedRequest,
  { body, contentLength }: Body,
  sink: ProxySink,
  mayDecline: boolean,
): Promise<boolean> {
  const prepared = prepareRequest(credential, { path, query: [], headers: callers }, null);
  const { url, parameters } = prepared;
  const { timeoutMs: headMs, baseUrl } = credential.requests;
  let declined = false;
  let answered = 0;
  const answer = {
    start(status: number, received: IncomingHttpHeaders) {
      answered = status;
      declined = mayDecline && status === UNAUTHORIZED;
      if (!declined) sink.start(status, shownHeaders(pairsOf(received), credential, parameters), baseUrl);
      return !declined;
    },
    data: sink.data,
  };
  const { config, egress, clock, usage } = call.app;
  const { tenantId, connectionId } = credential;
  const known = body === null ? Buffer.alloc(0) : body instanceof Buffer ? body : null;
  const headers = await headersToSend(credential, method, prepared, known, clock.now());
  try {
    const limits = { headMs, idleMs: config.proxyIdleMs, signal: call.signal };
    await egress.relay(url, { method, headers, body, contentLength, ...limits }, answer);
    usage.called(tenantId, connectionId, usageOf({ status: answered }));
  } catch (error) {
    if (!(error instanceof EgressError)) throw error;
    if (!call.signal.aborted) usage.called(tenantId, connectionId, 'error');
    throw call.signal.aborted ? new LatchkeyError('CANCELLED') : targetFailure(error, url.hostname, 1, 0);
  }
  return declined;
}

function pairsOf(headers: IncomingHttpHeaders): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) =>
    [value ?? []].flat().map((each): [string, string] => [name, each]),
  );
}

/** A small body, whose bytes must keep on coming. */
async function collect({ app, signal }: Call, body: Readable): Promise<Buffer> {
  const late = Promise.withResolvers<never>();
  const idle = setTimeout(() => {
    late.reject(new LatchkeyError('TARGET_TIMEOUT', { metadata: { host: '', attempts: '0' } }));
  }, app.config.proxyIdleMs);
  const chunks: Buffer[] = [];
  const whole = new Promise<Buffer>((done, fail) => {
    body.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      idle.refresh();
    });
    body.once('end', () => done(Buffer.concat(chunks)));
    for (const event of ['error', 'close']) body.once(event, () => fail(new LatchkeyError('CANCELLED')));
  });
  try {
    if (signal.aborted) throw new LatchkeyError('CANCELLED');
    return await Promise.race([whole, late.promise]);
  } finally {
    clearTimeout(idle);
    // Whichever comes second is of no interest.
    for (const each of [whole, late.promise]) each.catch(() => {});
  }
}
