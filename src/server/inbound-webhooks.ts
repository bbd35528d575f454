import type { IncomingMessage, ServerResponse } from 'node:http';
import { databaseUnavailable, isDatabaseUnavailable } from '../db/errors.ts';
import type { App, ReadyInboundEndpoint } from '../domain/call.ts';
import { loadInboundEndpoint } from '../domain/inbound/load-inbound-endpoint.ts';
import { receiveMessage } from '../domain/inbound/receive-message.ts';
import { callerAddress } from './address.ts';

const PATH = /^\/webhooks\/(iep_[0-9a-hjkmnp-tv-z]{26})$/;
/** How long a body may take to arrive. */
const BODY_MS = 10_000;
const MESSAGES_AT_ONCE = 512;
const MESSAGES_OF_ENDPOINT_AT_ONCE = 64;
/** What the bodies of all messages under way may take in memory. */
const BODY_BYTES_AT_ONCE = 256 * 1024 * 1024;
const BUSY_MS = 1_000;

/** How a request is answered; `outcome` is for metrics. */
type Answer = { status: number; outcome: string; body: object | string; retryAfterMs?: number };

const UNKNOWN: Answer = { status: 404, outcome: 'unknown', body: { message: 'there is no such endpoint' } };
const BUSY: Answer = {
  ...{ status: 503, outcome: 'overloaded', retryAfterMs: BUSY_MS },
  body: { message: 'too many messages are under way' },
};
const TOO_LARGE: Answer = { status: 413, outcome: 'too_large', body: { message: 'the body is too large' } };
const TOO_SLOW: Answer = { status: 408, outcome: 'too_slow', body: { message: 'the body took too long' } };
/** The same whatever is wrong: a sender who cannot sign learns nothing. */
const UNVERIFIED: Answer = { status: 401, outcome: 'unverified', body: { message: 'the message is not verified' } };

/** Takes what third parties send to inbound endpoints. Answers whether the path is below `/webhooks/`. */
export async function serveInbound(app: App, request: IncomingMessage, response: ServerResponse): Promise<boolean> {
  const path = (request.url ?? '').split('?', 1)[0]!;
  if (!path.startsWith('/webhooks/')) return false;
  if (request.method !== 'POST') {
    response.setHeader('allow', 'POST');
    send(response, { status: 405, outcome: '', body: { message: 'the method is not allowed here' } });
    return true;
  }
  const answer = await answerTo(app, PATH.exec(path)?.[1] ?? null, request).catch((error: unknown) =>
    failed(app, error),
  );
  // What is left of a body that was refused is read to its end, or the next request on the connection would wait behind it for ever.
  request.resume();
  if (!answer) return true;
  app.metrics.inboundMessages.inc({ outcome: answer.outcome });
  send(response, answer);
  if (answer === TOO_SLOW) response.on('finish', () => request.destroy());
  return true;
}

/** Null: the sender has gone. */
async function answerTo(app: App, id: string | null, request: IncomingMessage): Promise<Answer | null> {
  if (!id) return UNKNOWN;
  const { slots } = app.inbound;
  const taken = [slots.take('messages', MESSAGES_AT_ONCE)];
  try {
    if (taken.includes(null)) return BUSY;
    const endpoint = await loadInboundEndpoint(app, id);
    if (!endpoint?.enabled) return UNKNOWN;
    const declared = request.headers['content-length'];
    const length = declared && /^\d{1,15}$/.test(declared) ? Number(declared) : endpoint.maxBodyBytes;
    if (length > endpoint.maxBodyBytes) return TOO_LARGE;
    taken.push(slots.take(id, MESSAGES_OF_ENDPOINT_AT_ONCE), slots.take('bytes', BODY_BYTES_AT_ONCE, length));
    if (taken.includes(null)) return BUSY;
    return await receive(app, endpoint, request);
  } finally {
    for (const slot of taken) slot?.done();
  }
}

async function receive(app: App, endpoint: ReadyInboundEndpoint, request: IncomingMessage): Promise<Answer | null> {
  const body = await readBody(request, endpoint.maxBodyBytes);
  if (!Buffer.isBuffer(body)) return body;
  const peer = request.socket.remoteAddress ?? '';
  const forwarded = request.headers['x-forwarded-for'];
  const address = callerAddress(peer, forwarded?.toString(), app.config.trustedProxies);
  const reception = await receiveMessage(app, endpoint, { headers: headersOf(request), body }, address);
  const { outcome } = reception;
  switch (reception.outcome) {
    case 'stored':
    case 'repeat':
      return { status: outcome === 'stored' ? 202 : 200, outcome, body: { message_id: reception.messageId } };
    case 'challenge':
      return { status: 200, outcome, body: reception.answer };
    case 'rate_limited':
      return { ...BUSY, status: 429, outcome, retryAfterMs: reception.retryAfterMs };
    case 'unverified':
      return UNVERIFIED;
    case 'unknown':
      return UNKNOWN;
  }
}

/** The whole body; what to answer in its place; null where the sender goes away. */
function readBody(request: IncomingMessage, mostBytes: number): Promise<Buffer | Answer | null> {
  return new Promise((done) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const end = (result: Buffer | Answer | null) => {
      clearTimeout(timer);
      request.removeAllListeners('data');
      done(result);
    };
    const timer = setTimeout(() => end(TOO_SLOW), BODY_MS);
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      chunks.push(chunk);
      if (bytes > mostBytes) end(TOO_LARGE);
    });
    request.on('end', () => end(Buffer.concat(chunks)));
    request.on('error', () => end(null));
    request.on('close', () => end(null));
  });
}

/** By name in lower case, each time that it was sent: joined, a header that was added would go unseen. */
function headersOf({ rawHeaders }: IncomingMessage): Map<string, string[]> {
  const headers = new Map<string, string[]>();
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at]!.toLowerCase();
    const known = headers.get(name);
    if (known) known.push(rawHeaders[at + 1]!);
    else headers.set(name, [rawHeaders[at + 1]!]);
  }
  return headers;
}

/** Nothing is acknowledged that may not be stored: the sender comes again. */
function failed(app: App, error: unknown): Answer {
  if (isDatabaseUnavailable(error)) {
    const { message, retryAfterMs = BUSY_MS } = databaseUnavailable(error);
    return { status: 503, outcome: 'unavailable', body: { message }, retryAfterMs };
  }
  app.log.error({ err: error }, 'an inbound message was not received');
  return { status: 500, outcome: 'failed', body: { message: 'internal error' } };
}

function send(response: ServerResponse, { status, body, retryAfterMs }: Answer): void {
  const text = typeof body === 'string';
  response.writeHead(status, {
    ...{ 'content-type': text ? 'text/plain; charset=utf-8' : 'application/json', 'cache-control': 'no-store' },
    ...(retryAfterMs === undefined ? {} : { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1000))) }),
  });
  response.end(text ? body : `${JSON.stringify(body)}\n`);
}
