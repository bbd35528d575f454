import { LockMode } from '@mikro-orm/core';
import { InboundEndpoint } from '../../model/inbound-endpoint.ts';
import { User } from '../../model/user.ts';
import { systemCall } from '../access/principal.ts';
import { audit } from '../audit/audit.ts';
import type { App } from '../call.ts';
import { change, changeIn, read } from '../change.ts';
import { removeInboundEndpoint } from '../inbound/delete-inbound-endpoint.ts';
import { removeAccounts } from './remove-accounts.ts';
import { removeConnections } from './remove-connections.ts';

const DELIVERIES_AT_ONCE = 10_000;
/** What began before the user was deleted may have made something since. */
const LATE_MS = 1_000;

/** Goes on with the removal of what a deleted user leaves, and of the user at last. Answers in how many ms to go on; null: it is done. */
export async function removeUser(app: App, tenantId: string, id: string): Promise<number | null> {
  const call = systemCall(app, tenantId);
  const user = await read(call, (em) => em.findOne(User, { tenantId, id }));
  if (!user?.deleteTime) return null;
  const leaving = { tenantId, ownerUserId: id };
  // Of an account the connection goes with it.
  const accountsInMs = await removeAccounts(app, leaving);
  await removeInboundEndpoints(app, tenantId, id);
  if (await removeConnections(app, leaving)) return 0;
  await removeDeliveries(app, tenantId, id);
  if (accountsInMs !== null) return accountsInMs;
  return change(call, async (em) => {
    const [late] = await em.execute<object[]>(
      `select from latchkey.connection where tenant_id = ? and owner_user_id = ? union all
       select from latchkey.inbound_endpoint where tenant_id = ? and owner_user_id = ? union all
       select from latchkey.provider_account where tenant_id = ? and owner_user_id = ? limit 1`,
      [tenantId, id, tenantId, id, tenantId, id],
    );
    if (late) return LATE_MS;
    // What refers to the user keeps the row from going.
    if ((await em.nativeDelete(User, { tenantId, id })) === 0) return null;
    await em.execute('delete from latchkey.rate_window where tenant_id = ? and caller = ?', [tenantId, id]);
    await em.execute('delete from latchkey.request_memo where tenant_id = ? and caller = ?', [
      ...[tenantId, `user ${id} ${id}`],
    ]);
    audit(em, call, 'user_removed', { type: 'user', id });
    return null;
  });
}

async function removeInboundEndpoints(app: App, tenantId: string, ownerUserId: string): Promise<void> {
  const call = systemCall(app, tenantId);
  const found = await read(call, (em) => em.find(InboundEndpoint, { tenantId, ownerUserId }, { fields: ['id'] }));
  for (const { id } of found)
    await change(call, async (em) => {
      const endpoint = await em.findOne(InboundEndpoint, { tenantId, id }, { lockMode: LockMode.PESSIMISTIC_WRITE });
      if (endpoint) await removeInboundEndpoint(em, call, endpoint);
    });
}

/** They have no index by owner, which each delivery would pay for: all of the tenant's are looked through, some at a time. */
async function removeDeliveries(app: App, tenantId: string, ownerUserId: string): Promise<void> {
  for (let after: string | null = ''; after !== null; ) {
    const from: string = after;
    after = await changeIn(app, tenantId, async (em) => {
      const [row] = await em.execute<{ last: string | null; looked: number }[]>(
        `with page as (select id, owner_user_id from latchkey.delivery where tenant_id = ? and id > ? order by id limit ?),
         gone as (delete from latchkey.delivery d using page p where d.tenant_id = ? and d.id = p.id and p.owner_user_id = ?)
         select max(id collate "C") as last, count(*)::integer as looked from page`,
        [tenantId, from, DELIVERIES_AT_ONCE, tenantId, ownerUserId],
      );
      return row!.looked === DELIVERIES_AT_ONCE ? row!.last : null;
    });
  }
}
