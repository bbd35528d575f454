import { isIP } from 'node:net';
import type { ConnectionOptions } from 'node:tls';
import type { Egress } from '../egress/egress.ts';

/** A server that is signed in to. */
export type SignInServer = {
  host: string;
  port: number;
  /** `starttls`: plain first, then TLS on command; `tls`: from the first byte. */
  security: 'none' | 'starttls' | 'tls';
  username: string;
  password: string;
  /** For everything from resolving to the last reply. */
  timeoutMs: number;
  signal: AbortSignal;
};
export type SignInDoor = Pick<Egress, 'connect'>;

/**
 * What became of a sign-in.
 * - `refused`: the server does not take the credential.
 * - `too_weak`: it wants another way of signing in.
 * - `no_tls`: it cannot protect the connection as it should be, or wants it protected.
 * - `untrusted`: its certificate is not to be trusted, or TLS failed.
 * - `temporary`: it says that it cannot now.
 * - `timeout`, `lost`: it did not answer in time, or broke off.
 * - `protocol`: it speaks something else, or without end.
 */
export type SignInFailure =
  | 'refused'
  | 'too_weak'
  | 'no_tls'
  | 'untrusted'
  | 'temporary'
  | 'timeout'
  | 'lost'
  | 'protocol';

/** A sign-in that failed. Says nothing of what the server said but its reply code. */
export class SignInError extends Error {
  override readonly name = 'SignInError';
  readonly failure: SignInFailure;
  /** Reply code; 0: there was none. */
  readonly code: number;

  constructor(failure: SignInFailure, code = 0) {
    super(`the sign-in failed: ${failure}${code ? ` (${code})` : ''}`);
    this.failure = failure;
    this.code = code;
  }
}

/** Whether a code of Node's says that TLS failed, or that a certificate is not to be trusted. */
export function isTlsCode(code: string): boolean {
  return /CERT|SSL|TLS|ALTNAME/.test(code);
}

/** TLS that verifies the peer whatever the environment says. */
export function tlsTo({ host }: Pick<SignInServer, 'host'>): ConnectionOptions {
  return { host, rejectUnauthorized: true, ...(isIP(host) ? {} : { servername: host }) };
}
