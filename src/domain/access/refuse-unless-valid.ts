import { LatchkeyError } from '../../base/error.ts';
import { hot } from '../../db/hot.ts';
import type { Call } from '../call.ts';

/** For calls that last: whether the credential that began it has ended meanwhile. Fails with CREDENTIALS_INVALID. */
export async function refuseUnlessValid({ app, principal }: Call): Promise<void> {
  const { kind, tenantId, id, expiresAt } = principal;
  if (expiresAt <= app.clock.now()) throw new LatchkeyError('CREDENTIALS_INVALID');
  if (kind !== 'api_key') return;
  const [key] = await hot<{ revoke_time: string | null }>(app.pool, 'readApiKey', [tenantId, id]);
  if (!key || key.revoke_time !== null) throw new LatchkeyError('CREDENTIALS_INVALID');
}
