import type { Conditions } from '../../db/paging.ts';
import type { Em } from '../../db/transaction.ts';
import { Delivery } from '../../model/delivery.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';

/**
 * Has deliveries that failed for good sent again, as often as at first; of those that the conditions hold for the oldest, so many at most. The lease of whoever had one
 * before is void. Answers them as they are now.
 */
export async function sendAgain(em: Em, call: Call, conditions: Conditions, most: number): Promise<Delivery[]> {
  const { tenantId } = call.principal;
  const all = [{ sql: 'tenant_id = ?', params: [tenantId] }, { sql: `status = 'FAILED'`, params: [] }, ...conditions];
  const rows = await em.execute<object[]>(
    `update latchkey.delivery d set status = 'PENDING', error = '', attempt_count = 0, due_time = clock_timestamp(), settle_time = null, lease_epoch = lease_epoch + 1
      where d.tenant_id = ? and d.id in (select id from latchkey.delivery where ${all.map(({ sql }) => `(${sql})`).join(' and ')} order by id limit ${most} for update skip locked)
      returning d.*`,
    [tenantId, ...all.flatMap(({ params }) => params)],
  );
  const retried = rows.map((row) => em.map(Delivery, row));
  for (const { id } of retried) audit(em, call, 'delivery_retried', { type: 'delivery', id });
  return retried;
}
