import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { deliveriesOf } from './delivery-visibility.ts';
import { conditionsOf, type DeliveryFilter } from './list-deliveries.ts';

const MOST_AT_ONCE = 1_000;

/** Has the deliveries of a filter that failed for good sent again, the oldest first, 1000 at most. Answers how many, and whether there are more. */
export async function retryDeliveries(
  call: Call,
  filter: Omit<DeliveryFilter, 'status'>,
): Promise<{ count: number; more: boolean }> {
  const { tenantId, permissions, ownPermissions } = call.principal;
  const mayUse = permissions.has('connection:use');
  const conditions = [
    { sql: 'tenant_id = ?', params: [tenantId] },
    ...deliveriesOf(call.principal, 'webhook:send'),
    ...conditionsOf({ ...filter, status: 'FAILED' }),
    // A delivery with somebody's credential takes what sending it took.
    ...(mayUse
      ? []
      : [
          {
            sql: `connection_id is null${ownPermissions.has('connection:use') ? ' or owner_user_id is not null' : ''}`,
            params: [],
          },
        ]),
  ];
  const retried = await change(call, async (em) => {
    const rows = await em.execute<{ id: string }[]>(
      `update latchkey.delivery d set status = 'PENDING', error = '', attempt_count = 0, due_time = clock_timestamp(), settle_time = null, lease_epoch = lease_epoch + 1
        where d.tenant_id = ? and d.id in (select id from latchkey.delivery where ${conditions.map(({ sql }) => `(${sql})`).join(' and ')} order by id limit ${MOST_AT_ONCE} for update skip locked)
        returning d.id`,
      [tenantId, ...conditions.flatMap(({ params }) => params)],
    );
    for (const { id } of rows) audit(em, call, 'delivery_retried', { type: 'delivery', id });
    return rows.length;
  });
  call.app.deliveries.look();
  return { count: retried, more: retried === MOST_AT_ONCE };
}
