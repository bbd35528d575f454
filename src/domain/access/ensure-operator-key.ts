import { newId } from '../../base/id.ts';
import { SecretText } from '../../base/secret-text.ts';
import { sameHash } from '../../crypto/constant-time.ts';
import { sha256 } from '../../crypto/keyring.ts';
import type { Em } from '../../db/transaction.ts';
import { ApiKey } from '../../model/api-key.ts';
import { audit } from '../audit/audit.ts';
import type { App, Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { ADMIN_KEY_ID, apiKeyText } from './api-key-text.ts';
import { ensureTenant, OPERATOR_TENANT } from './ensure-tenant.ts';
import { systemCall } from './principal.ts';

/**
 * Sees to it that the operator can call: with the key that LATCHKEY_ADMIN_KEY holds, or else, where the tenant `default` never had a key, with a new
 * one, whose text is answered this once. A key that was revoked stays revoked; a new text in LATCHKEY_ADMIN_KEY replaces the old.
 */
export async function ensureOperatorKey(app: App): Promise<SecretText | null> {
  const call = systemCall(app, OPERATOR_TENANT);
  await ensureTenant(call, 'Default');
  return change(call, async (em) => {
    await em.execute('select from latchkey.tenant where tenant_id = ? for update', [OPERATOR_TENANT]);
    const { adminKey, identity, production } = app.config;
    if (adminKey) {
      const known = await em.findOne(ApiKey, { tenantId: OPERATOR_TENANT, id: ADMIN_KEY_ID });
      const hash = sha256(adminKey);
      if (known && sameHash(known.hash, hash)) return null;
      if (known) em.remove(known);
      await em.flush();
      announce(em, { kind: 'api_key', tenantId: OPERATOR_TENANT, id: ADMIN_KEY_ID });
      addKey(call, em, ADMIN_KEY_ID, hash);
      return null;
    }
    if ((await em.count(ApiKey, { tenantId: OPERATOR_TENANT })) > 0) return null;
    if (production && identity.issuer) return null;
    const id = newId('key', app.clock.now());
    const text = apiKeyText(id);
    addKey(call, em, id, sha256(text));
    return new SecretText(text);
  });
}

function addKey(call: Call, em: Em, id: string, hash: Buffer): void {
  const apiKey = em.create(ApiKey, {
    ...{
      tenantId: OPERATOR_TENANT,
      id,
      hash,
      displayName: 'first admin key',
      scopes: ['*'],
      projectIds: [],
      operator: true,
      creatorUserId: '',
    },
    ...{ createTime: new Date(call.app.clock.now()), expireTime: null, revokeTime: null, rateLimit: null },
  });
  em.persist(apiKey);
  audit(em, call, 'api_key_created', { type: 'api_key', id }, { after: apiKey.summary() });
}
