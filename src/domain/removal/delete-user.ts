import { enqueue } from '../../db/jobs.ts';
import type { Em } from '../../db/transaction.ts';
import { ApiKey } from '../../model/api-key.ts';
import { lockAdministrators, refuseLastAdministrator } from '../access/administrators.ts';
import { lockUser } from '../access/find-user.ts';
import { endApiKey } from '../access/revoke-api-key.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';

/**
 * Deletes a user: no call of theirs succeeds any more, the keys that they made and the authorizations that wait for them have ended; a job removes what they leave. Answers the ids of the keys.
 * Fails with USER_NOT_FOUND, ETAG_MISMATCH, LAST_ADMINISTRATOR.
 */
export function deleteUser(call: Call, id: string, etag: string, keepApiKeys: boolean): Promise<string[]> {
  const { tenantId } = call.principal;
  return change(call, async (em) => {
    await lockAdministrators(em, tenantId);
    const user = await lockUser(em, tenantId, id, etag);
    if (user.isAdministrator()) await refuseLastAdministrator(em, user);
    const before = user.summary();
    const keys = keepApiKeys
      ? []
      : await em.find(ApiKey, { tenantId, creatorUserId: id, revokeTime: null }, { orderBy: { id: 'asc' } });
    for (const key of keys) endApiKey(em, call, key);
    await endAuthorizations(em, tenantId, id);
    user.delete(new Date(call.app.clock.now()));
    user.version += 1;
    const revoked = keys.map((key) => key.id);
    audit(em, call, 'user_deleted', { type: 'user', id }, { before, after: { revoked_api_keys: revoked } });
    event(em, call, 'user.deleted', user.aggregate(), before);
    announce(em, { kind: 'user', tenantId, id });
    await enqueue(em, 'remove_user', { tenantId, id }, { key: `remove_user ${tenantId} ${id}` });
    return revoked;
  });
}

/** Those that they began, and those of what they own: nobody comes back from a provider in their name. */
async function endAuthorizations(em: Em, tenantId: string, userId: string): Promise<void> {
  const ended = await em.execute<{ id: string }[]>(
    `update latchkey.app_authorization a
        set status = 'FAILED', reason = 'AUTHORIZATION_FAILED', sealed = null, ticket_hash = null, state_hash = null
       from latchkey.connection c
      where a.tenant_id = ? and a.status = 'PENDING' and c.tenant_id = a.tenant_id and c.id = a.connection_id and (a.starter ->> 'userId' = ? or c.owner_user_id = ?)
     returning a.id`,
    [tenantId, userId, userId],
  );
  for (const { id } of ended) announce(em, { kind: 'authorization', tenantId, id });
}
