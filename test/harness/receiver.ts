import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import { type Listener, listenHttp } from './listener.ts';

/** A request as it came. */
export type Received = { method: string; url: string; headers: IncomingHttpHeaders; body: string; time: number };

/** What a receiver answers: a status, with headers. */
export type Reply = { status: number; headers?: Record<string, string>; body?: string };

/** A receiver of webhooks that keeps what comes and answers as it is told. */
export type Receiver = Listener & { received: Received[] };

/** @param reply answers the nth request, from 0; null leaves it without an answer */
export async function startReceiver(
  reply: (n: number, request: Received) => Reply | null = () => ({ status: 204 }),
): Promise<Receiver> {
  const received: Received[] = [];
  const listener = await listenHttp(async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { method = '', url = '', headers } = request;
    const one = { method, url, headers, body: Buffer.concat(chunks).toString(), time: Date.now() };
    received.push(one);
    const answer = reply(received.length - 1, one);
    if (answer) response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  return Object.assign(listener, { received });
}
