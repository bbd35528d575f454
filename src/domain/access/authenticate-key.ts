import { LatchkeyError } from '../../base/error.ts';
import { sameHash } from '../../crypto/constant-time.ts';
import { sha256 } from '../../crypto/keyring.ts';
import { hot } from '../../db/hot.ts';
import type { StoredLimits, StoredRate } from '../../model/tenant.ts';
import type { App, Principal } from '../call.ts';
import { ADMIN_KEY_ID, apiKeyIdOf, isAdminKey } from './api-key-text.ts';
import { callRates } from './call-rates.ts';
import { findUserId } from './find-user.ts';
import type { Presented } from './presented.ts';
import { principalOfKey } from './principal.ts';

type Route = { tenant_id: string; hash: Buffer };
type KeyRow = {
  scopes: string[];
  project_ids: string[];
  operator: boolean;
  expire_time: Date | null;
  revoke_time: Date | null;
  rate_limit: StoredRate | null;
  limits: StoredLimits;
};

/** Who an API key is. Null where it is unknown, revoked or expired. */
export async function authenticateKey(app: App, { credential, actsFor }: Presented): Promise<Principal | null> {
  const id = isAdminKey(app, credential) ? ADMIN_KEY_ID : apiKeyIdOf(credential);
  const routes = await hot<Route>(app.pool, 'routeApiKey', [id]);
  const presented = sha256(credential);
  const route = routes.find((candidate) => sameHash(candidate.hash, presented));
  if (!route) return null;
  const [row] = await hot<KeyRow>(app.pool, 'readApiKey', [route.tenant_id, id]);
  if (!row || row.revoke_time) return null;
  const key = {
    tenantId: route.tenant_id,
    id,
    scopes: row.scopes,
    projectIds: row.project_ids,
    operator: row.operator,
    expireTime: row.expire_time && new Date(row.expire_time),
    rates: callRates(app, row.limits, row.rate_limit),
  };
  if (actsFor === undefined) return principalOfKey(key, null);
  if (!principalOfKey(key, null).permissions.has('user:act_as')) {
    throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: 'user:act_as' } });
  }
  return principalOfKey(key, await findUserId(app, key.tenantId, actsFor));
}
