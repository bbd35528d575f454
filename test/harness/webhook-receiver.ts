import type { IncomingHttpHeaders } from 'node:http';
import type { Listener } from './listener.ts';
import { startReceiver } from './receiver.ts';

/** A webhook as it came, at a time in ms since the epoch. */
export type ReceivedWebhook = { method: string; url: string; headers: IncomingHttpHeaders; body: string; time: number };

/** What a receiver answers: a status, with headers. */
export type Reply = { status: number; headers?: Record<string, string>; body?: string };

/** A receiver of webhooks that keeps what comes and answers as it is told. */
export type WebhookReceiver = Listener & { received: ReceivedWebhook[] };

/** @param reply answers the nth request, from 0; null leaves it without an answer */
export async function startWebhookReceiver(
  reply: (n: number, request: ReceivedWebhook) => Reply | null = () => ({ status: 204 }),
): Promise<WebhookReceiver> {
  const received: ReceivedWebhook[] = [];
  const receiver = await startReceiver(({ method, path: url, headers, body }, response) => {
    const one = { method, url, headers, body: body.toString(), time: Date.now() };
    const answer = reply(received.push(one) - 1, one);
    if (answer) response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  return Object.assign(receiver, { received });
}
