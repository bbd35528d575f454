import type { Socket } from 'node:net';
import { LatchkeyError } from '../base/error.ts';
import { dial, type Gate } from './dial.ts';
import { EgressError } from './egress-error.ts';
import { failureOf } from './exchange.ts';

export type ConnectLimits = {
  /** To the connection, within that of the dialler. */
  timeoutMs: number;
  /** Ends the attempt and, later, the connection. */
  signal: AbortSignal;
};

/** A connection by TCP to a checked address. Fails with ADDRESS_FORBIDDEN, or EgressError. */
export function connectTo(
  gate: Gate,
  host: string,
  port: number,
  { timeoutMs, signal }: ConnectLimits,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const fail = (...[kind, detail]: ReturnType<typeof failureOf>) =>
      reject(new EgressError(kind, { host, sent: false, detail }));
    if (signal.aborted) {
      fail('aborted', undefined);
      return;
    }
    const socket = dial(gate, host, port, (error, connected) => {
      clearTimeout(timer);
      if (connected) resolve(connected);
      else if (error instanceof LatchkeyError) reject(error);
      else if (signal.aborted) fail('aborted', undefined);
      else fail(...failureOf(error!, false));
    });
    const end = () => socket.destroy(Object.assign(new Error('ended'), { code: 'ETIMEDOUT' }));
    const timer = setTimeout(end, timeoutMs);
    signal.addEventListener('abort', end);
    socket.once('close', () => signal.removeEventListener('abort', end));
  });
}
