import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { ApiKey } from '../../model/api-key.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';

/** Ends an API key. Fails with API_KEY_NOT_FOUND. */
export function revokeApiKey(call: Call, id: string): Promise<ApiKey> {
  const { tenantId } = call.principal;
  return change(call, async (em) => {
    const apiKey = await em.findOne(ApiKey, { tenantId, id });
    if (!apiKey || !concerns(call, apiKey))
      throw new LatchkeyError('API_KEY_NOT_FOUND', { metadata: { api_key_id: id } });
    endApiKey(em, call, apiKey);
    return apiKey;
  });
}

/** Ends a key in a transaction that has read it. No change where it had ended before. */
export function endApiKey(em: Em, call: Call, apiKey: ApiKey): void {
  const { tenantId, id } = apiKey;
  const before = apiKey.summary();
  if (!apiKey.revoke(new Date(call.app.clock.now()))) return;
  const resource = { type: 'api_key', id };
  audit(em, call, 'api_key_revoked', resource, { before, after: apiKey.summary() });
  event(em, call, 'api_key.revoked', { ...resource, generation: 2 });
  announce(em, { kind: 'api_key', tenantId, id });
}

/** A caller who is limited to projects ends only keys that are limited to some of them. */
function concerns({ principal }: Call, { projectIds }: ApiKey): boolean {
  const limit = principal.projectIds;
  return limit === null || (projectIds.length > 0 && projectIds.every((project) => limit.includes(project)));
}
