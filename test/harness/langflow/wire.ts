import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import type { Answer, Asked } from './http.ts';

export async function askedOf(request: IncomingMessage, response: ServerResponse): Promise<Asked> {
  const gone = new AbortController();
  response.on('close', () => {
    if (!response.writableFinished) gone.abort();
  });
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://langflow');
  const { method = '', headers, socket } = request;
  const about = { method, headers, path: pathname, query: flattened(searchParams), param: '', gone: gone.signal };
  return { ...about, text: await textOf(request), ip: socket.remoteAddress ?? '' };
}

/** A comma in a value makes two of it, and the last one counts. */
function flattened(query: URLSearchParams): URLSearchParams {
  return new URLSearchParams(
    Object.fromEntries([...query].flatMap(([name, value]) => value.split(',').map((part) => [name, part]))),
  );
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

export async function send(
  response: ServerResponse,
  { status, headers = {}, body = '', gzip, frames }: Answer,
): Promise<void> {
  if (frames) return stream(response, frames);
  const json = typeof body === 'object';
  const bytes = Buffer.from(json ? JSON.stringify(body) : String(body));
  const type = json ? { 'content-type': 'application/json' } : {};
  response.writeHead(status, { ...type, ...(gzip ? { 'content-encoding': 'gzip' } : {}), ...headers });
  response.end(gzip ? gzipSync(bytes) : bytes);
}

async function stream(response: ServerResponse, frames: AsyncIterable<string>): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8' });
  for await (const frame of frames) response.write(frame);
  response.end();
}
