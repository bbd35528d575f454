import type { LookupAddress } from 'node:dns';
import { connect, type LookupFunction, type Socket } from 'node:net';
import { buildConnector } from 'undici';

/** What a connection is checked against. */
export type Gate = {
  /** Every address of a host name, all of them permitted. Fails with ADDRESS_FORBIDDEN where one is not. */
  resolve(host: string, port: number): Promise<LookupAddress[]>;
  /** Throws ADDRESS_FORBIDDEN where a call to the host may not reach the address. */
  check(host: string, address: string, port: number): void;
};

type Done = (error: Error | null, socket: Socket | null) => void;

/** Longest that resolving and connecting may take, and then again the handshake of TLS. */
const CONNECT_TIMEOUT_MS = 5_000;
const KEEP_ALIVE_PROBE_MS = 60_000;

/**
 * undici's way to a new connection. Only addresses that the gate answered are dialled, and the peer is checked again before the first byte,
 * be it of TLS or of HTTP. TLS verifies the peer whatever the environment says.
 */
export function dialer(gate: Gate): buildConnector.connector {
  const secure = buildConnector({ allowH2: false, rejectUnauthorized: true, timeout: CONNECT_TIMEOUT_MS });
  return (options, callback) => {
    const done = callback as Done;
    const tls = options.protocol === 'https:';
    const port = Number(options.port || (tls ? 443 : 80));
    // undici takes the socket over within the event that says it is connected, or it would miss an end that follows at once.
    dial(gate, options.hostname, port, (error, socket) => {
      if (socket && tls) secure({ ...options, httpSocket: socket }, callback);
      else done(error, socket);
    });
  };
}

/** Connects to an address that the gate answered, and whose peer it passed. Who destroys the socket before that ends the attempt. */
export function dial(gate: Gate, host: string, port: number, done: Done): Socket {
  const lookup: LookupFunction = (name, _options, answer) => {
    gate.resolve(name, port).then(
      (addresses) => answer(addresses.length === 0 ? codeError('ENOTFOUND') : null, addresses),
      (error) => answer(error, []),
    );
  };
  const socket = connect({ host, port, lookup, autoSelectFamily: true, noDelay: true });
  socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS);
  const timer = setTimeout(() => socket.destroy(codeError('ETIMEDOUT')), CONNECT_TIMEOUT_MS);
  let fail = (error: Error) => {
    clearTimeout(timer);
    done(error, null);
  };
  // Stays, so that no error of this socket is ever without a listener.
  socket.on('error', (error) => fail(error));
  socket.once('connect', () => {
    const refusal = refusalOf(gate, host, socket.remoteAddress, port);
    if (refusal) {
      socket.destroy(refusal);
      return;
    }
    clearTimeout(timer);
    fail = () => {};
    done(null, socket);
  });
  return socket;
}

function refusalOf(gate: Gate, host: string, peer: string | undefined, port: number): Error | null {
  // A peer that has reset the connection by now has no address any more.
  if (peer === undefined) return codeError('ENOTCONN');
  try {
    gate.check(host, peer, port);
    return null;
  } catch (error) {
    return error as Error;
  }
}

function codeError(code: string): Error {
  return Object.assign(new Error(code), { code });
}
