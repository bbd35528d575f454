import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import { type Listener, listenHttp } from './listener.ts';

export type Received = { method: string; path: string; headers: IncomingHttpHeaders; body: Buffer };
type Answer = (request: Received, response: ServerResponse, index: number) => void;

/** An HTTP server that remembers what it was sent, and answers as the test says: `{}` by default. */
export type Receiver = Listener & { requests: Received[]; answer: Answer };

export async function startReceiver(answer: Answer = (_, response) => void response.end('{}')): Promise<Receiver> {
  const requests: Received[] = [];
  const listener = await listenHttp(async (request, response) => {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      // Who sent it has left.
      return;
    }
    const { method = '', url: path = '', headers } = request;
    const received = { method, path, headers, body: Buffer.concat(chunks) };
    receiver.answer(received, response, requests.push(received) - 1);
  });
  const receiver: Receiver = Object.assign(listener, { requests, answer });
  return receiver;
}
