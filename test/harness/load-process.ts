import { setTimeout as pause } from 'node:timers/promises';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';

/**
 * Makes calls from a process of its own, at a rate, whether they are answered or not: `{ port, path, request, key, perSecond, ms }` as JSON in the first argument, `request` in base64.
 * Prints what came of them, and ends.
 */
type Order = { port: number; path: string; request: string; key: string; perSecond: number; ms: number };
/** Times of answers in ms; of those that ended later than asked, none is left out. */
export type LoadResult = { answeredMs: number[]; refusedMs: number[]; others: Record<string, number> };

const RESOURCE_EXHAUSTED = 8;
const STEP_MS = 5;
const CHANNELS = 4;

const order: Order = JSON.parse(process.argv[2]!);
const bytes = Buffer.from(order.request, 'base64');
const metadata = new Metadata();
metadata.set('authorization', `Bearer ${order.key}`);
const identity = (value: Buffer) => value;
const channels = Array.from(
  { length: CHANNELS },
  () => new Client(`127.0.0.1:${order.port}`, credentials.createInsecure(), { 'grpc.use_local_subchannel_pool': 1 }),
);
const result: LoadResult = { answeredMs: [], refusedMs: [], others: {} };

function call(n: number): Promise<void> {
  const startedAt = performance.now();
  return new Promise((done) => {
    const ended = (error: ServiceError | null) => {
      const ms = performance.now() - startedAt;
      if (!error) result.answeredMs.push(ms);
      else if (error.code === RESOURCE_EXHAUSTED) result.refusedMs.push(ms);
      else result.others[error.details] = (result.others[error.details] ?? 0) + 1;
      done();
    };
    channels[n % CHANNELS]!.makeUnaryRequest(order.path, identity, identity, bytes, metadata, ended);
  });
}

const underWay: Promise<void>[] = [];
const start = performance.now();
let n = 0;
for (let now = start; now - start < order.ms; now = performance.now()) {
  for (; n < ((now - start) * order.perSecond) / 1000; n++) underWay.push(call(n));
  await pause(STEP_MS);
}
await Promise.all(underWay);
process.stdout.write(JSON.stringify(result));
for (const channel of channels) channel.close();
