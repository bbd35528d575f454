import { LatchkeyError } from '../../base/error.ts';
import { authenticate as authenticateCaller } from '../../domain/access/authenticate.ts';
import type { App, Principal } from '../../domain/call.ts';
import type { Exchange } from './exchange.ts';

const BEARER = /^Bearer +(\S+)$/i;

/** Who calls: `authorization: Bearer` with a token or a key, or `x-api-key` with a key. Public methods need nobody, and know who says who they are. */
export function authenticate(app: App, exchange: Exchange): void | Promise<void> {
  const { method, header, address } = exchange.incoming;
  if (method.access.public && !header('authorization') && !header('x-api-key')) return;
  const principal = authenticateCaller(app, {
    credential: presentedCredential(header),
    actsFor: header('latchkey-user') || undefined,
    address,
  });
  if (principal instanceof Promise) return principal.then((found) => set(exchange, found));
  set(exchange, principal);
}

function set(exchange: Exchange, principal: Principal): void {
  exchange.principal = principal;
}

/** Fails with CREDENTIALS_MISSING, CREDENTIALS_INVALID. */
export function presentedCredential(header: Exchange['incoming']['header']): string {
  const authorization = header('authorization');
  if (authorization) {
    const token = BEARER.exec(authorization)?.[1];
    if (!token) throw new LatchkeyError('CREDENTIALS_INVALID');
    return token;
  }
  const key = header('x-api-key');
  if (!key) throw new LatchkeyError('CREDENTIALS_MISSING');
  return key;
}
