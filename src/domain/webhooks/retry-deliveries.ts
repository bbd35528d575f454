import type { Call } from '../call.ts';
import { change } from '../change.ts';
import { deliveriesOf } from './delivery-visibility.ts';
import { conditionsOf, type DeliveryFilter } from './list-deliveries.ts';
import { sendAgain } from './send-again.ts';

const MOST_AT_ONCE = 1_000;

/** Has the deliveries of a filter that failed for good sent again, the oldest first, 1000 at most. Answers how many, and whether there are more. */
export async function retryDeliveries(
  call: Call,
  filter: Omit<DeliveryFilter, 'status'>,
): Promise<{ count: number; more: boolean }> {
  const { permissions, ownPermissions } = call.principal;
  const conditions = [
    ...deliveriesOf(call.principal, 'webhook:send'),
    ...conditionsOf({ ...filter, status: 'FAILED' }),
  ];
  // A delivery with somebody's credential takes what sending it took.
  if (!permissions.has('connection:use'))
    conditions.push({
      sql: `connection_id is null${ownPermissions.has('connection:use') ? ' or owner_user_id is not null' : ''}`,
      params: [],
    });
  const { length: count } = await change(call, (em) => sendAgain(em, call, conditions, MOST_AT_ONCE));
  call.app.deliveries.look();
  return { count, more: count === MOST_AT_ONCE };
}
