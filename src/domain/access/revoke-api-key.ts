import { LatchkeyError } from '../../base/error.ts';
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
    if (!apiKey) throw new LatchkeyError('API_KEY_NOT_FOUND', { metadata: { api_key_id: id } });
    const before = apiKey.summary();
    if (!apiKey.revoke(new Date(call.app.clock.now()))) return apiKey;
    const resource = { type: 'api_key', id };
    audit(em, call, 'api_key_revoked', resource, { before, after: apiKey.summary() });
    event(em, call, 'api_key.revoked', { ...resource, generation: 2 });
    announce(em, { kind: 'api_key', tenantId, id });
    return apiKey;
  });
}
