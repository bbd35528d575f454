import { Agent, request as httpRequest } from 'node:http';
import { Client, credentials, Metadata } from '@grpc/grpc-js';

/** What a run of calls showed. */
export type Measured = { callsPerSecond: number; p50Ms: number; p99Ms: number; calls: number };

/** Sends calls for a time, so many in flight at once, and measures them. */
export async function load(call: () => Promise<void>, { inFlight = 64, ms = 5_000 } = {}): Promise<Measured> {
  const latencies: number[] = [];
  const start = performance.now();
  const until = start + ms;
  const lane = async () => {
    while (performance.now() < until) {
      const before = performance.now();
      await call();
      latencies.push(performance.now() - before);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, lane));
  const seconds = (performance.now() - start) / 1000;
  latencies.sort((a, b) => a - b);
  const at = (part: number) => latencies[Math.min(latencies.length - 1, Math.floor(latencies.length * part))] ?? 0;
  return { callsPerSecond: latencies.length / seconds, p50Ms: at(0.5), p99Ms: at(0.99), calls: latencies.length };
}

/** A bare gRPC call of one method with fixed bytes, by grpc-js, over its own connection. */
export function grpcCaller(
  port: number,
  path: string,
  request: () => Buffer,
  headers: Record<string, string>,
): { call: () => Promise<void>; close: () => void } {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  const identity = (bytes: Buffer) => bytes;
  const call = () =>
    new Promise<void>((done, fail) => {
      client.makeUnaryRequest(path, identity, identity, request(), metadata, (error) => (error ? fail(error) : done()));
    });
  return { call, close: () => client.close() };
}

/** A bare HTTP POST of fixed bytes over kept connections. */
export function httpCaller(
  port: number,
  path: string,
  request: () => Buffer,
  headers: Record<string, string>,
): { call: () => Promise<void>; close: () => void } {
  const agent = new Agent({ keepAlive: true, maxSockets: 64 });
  const call = () =>
    new Promise<void>((done, fail) => {
      const body = request();
      const sent = httpRequest(
        {
          agent,
          port,
          host: '127.0.0.1',
          path,
          method: 'POST',
          headers: { ...headers, 'content-length': body.length },
        },
        (response) => {
          response.resume();
          response.on('end', () =>
            (response.statusCode ?? 500) < 300 ? done() : fail(new Error(`status ${response.statusCode}`)),
          );
        },
      );
      sent.on('error', fail);
      sent.end(body);
    });
  return { call, close: () => agent.destroy() };
}
