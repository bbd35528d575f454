import { hash } from 'node:crypto';
import { LatchkeyError } from '../../base/error.ts';
import { networkOf } from '../../base/network.ts';
import type { App, Principal } from '../call.ts';
import { isAdminKey } from './api-key-text.ts';
import { authenticateKey } from './authenticate-key.ts';
import { authenticateToken } from './authenticate-token.ts';
import type { Presented } from './presented.ts';

const JWT = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$/;
const LONGEST_CREDENTIAL = 16_384;

/**
 * Who presents this. Remembered by hash until the credential ends or a change of it is heard.
 * Fails with CREDENTIALS_INVALID, TENANT_DELETED, RATE_LIMITED where too many from the same network were refused, PERMISSION_MISSING (`user:act_as`), USER_NOT_FOUND,
 * IDENTITY_PROVIDER_UNAVAILABLE.
 */
export function authenticate(app: App, presented: Presented): Principal | Promise<Principal> {
  const key = cacheKey(presented);
  const known = app.caches.principals.peek(key);
  if (known) return unlessExpired(app, known);
  return verify(app, key, presented);
}

/** Who is known is served whatever others on the same network do; who is not waits where too many there were refused. */
async function verify(app: App, key: string, presented: Presented): Promise<Principal> {
  const { refusedCredentials, config } = app;
  const most = config.authFailuresPerMinute;
  if (most === 0) return find(app, key, presented);
  const network = networkOf(presented.address);
  const waitMs = refusedCredentials.wait(network, most);
  if (waitMs > 0) {
    const metadata = { limit: 'address', calls: String(most), window_s: '60' };
    throw new LatchkeyError('RATE_LIMITED', { retryAfterMs: waitMs, metadata });
  }
  try {
    return await find(app, key, presented);
  } catch (error) {
    const refused = error instanceof LatchkeyError && error.reason === 'CREDENTIALS_INVALID';
    if (refused) refusedCredentials.take(network, most);
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

function cacheKey({ credential, actsFor }: Presented): string {
  const digest = hash('sha256', credential, 'base64');
  return actsFor === undefined ? digest : `${digest} ${actsFor}`;
}

function unlessExpired(app: App, principal: Principal): Principal {
  if (app.clock.now() >= principal.expiresAt) throw new LatchkeyError('CREDENTIALS_INVALID');
  return principal;
}
