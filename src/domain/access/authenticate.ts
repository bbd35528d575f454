import { hash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import { LatchkeyError } from '../../base/error.ts';
import type { App, Principal } from '../call.ts';
import { isAdminKey } from './api-key-text.ts';
import { authenticateKey } from './authenticate-key.ts';
import { authenticateToken } from './authenticate-token.ts';
import type { Presented } from './presented.ts';

const JWT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;
const LONGEST_CREDENTIAL = 16_384;

/**
 * Who presents this. Remembered by hash until the credential ends or a change of it is heard.
 * Fails with CREDENTIALS_INVALID, RATE_LIMITED where too many from the same network were refused, PERMISSION_MISSING (`user:act_as`), USER_NOT_FOUND, IDENTITY_PROVIDER_UNAVAILABLE.
 */
export function authenticate(app: App, presented: Presented): Principal | Promise<Principal> {
  const key = cacheKey(presented);
  const known = app.caches.principals.peek(key);
  if (known) return unlessExpired(app, known);
  return verify(app, key, presented);
}

async function verify(app: App, key: string, presented: Presented): Promise<Principal> {
  const { refusedCredentials, config } = app;
  const most = config.authFailuresPerMinute;
  const network = networkOf(presented.address);
  // Who is known is served whatever others on the same network do.
  const waitMs = most === 0 ? 0 : refusedCredentials.wait(network, most);
  if (waitMs > 0) {
    const metadata = { limit: 'address', calls: String(most), window_s: '60' };
    throw new LatchkeyError('RATE_LIMITED', { retryAfterMs: waitMs, metadata });
  }
  try {
    return await find(app, key, presented);
  } catch (error) {
    if (most > 0 && error instanceof LatchkeyError && error.reason === 'CREDENTIALS_INVALID')
      refusedCredentials.take(network, most);
    throw error;
  }
}

async function find(app: App, key: string, presented: Presented): Promise<Principal> {
  if (presented.credential.length > LONGEST_CREDENTIAL) throw new LatchkeyError('CREDENTIALS_INVALID');
  const principal = await app.caches.principals.get(key, () =>
    JWT.test(presented.credential) && !isAdminKey(app, presented.credential)
      ? authenticateToken(app, presented)
      : authenticateKey(app, presented),
  );
  if (!principal) throw new LatchkeyError('CREDENTIALS_INVALID');
  return unlessExpired(app, principal);
}

/** An address of IPv6 stands for its network of 64 bits, all of which is one subscriber's. */
function networkOf(address: string): string {
  return isIPv6(address) && !address.includes('.') ? networkOfIPv6(address) : address;
}

function networkOfIPv6(address: string): string {
  const [head = '', tail] = address.split('%')[0]!.split('::');
  const groups = head ? head.split(':') : [];
  const rest = tail ? tail.split(':') : [];
  const zeros = tail === undefined ? 0 : 8 - groups.length - rest.length;
  return [...groups, ...Array.from({ length: zeros }, () => '0'), ...rest]
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':');
}

function cacheKey({ credential, actsFor }: Presented): string {
  const digest = hash('sha256', credential, 'base64');
  return actsFor === undefined ? digest : `${digest} ${actsFor}`;
}

function unlessExpired(app: App, principal: Principal): Principal {
  if (app.clock.now() >= principal.expiresAt) throw new LatchkeyError('CREDENTIALS_INVALID');
  return principal;
}
