import { byTime, type Conditions, listPage, type Page, type PageRequest } from '../../db/paging.ts';
import { Delivery, type DeliveryStatus } from '../../model/delivery.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { deliveriesOf } from './delivery-visibility.ts';

export type DeliveryOrder = 'CREATE_TIME_DESC' | 'CREATE_TIME_ASC';

/** Empty, null or undefined: any. */
export type DeliveryFilter = {
  status: DeliveryStatus | undefined;
  connectionId: string;
  host: string;
  createdFrom: Date | null;
  createdBefore: Date | null;
};

/** Lists the deliveries that the caller may see. Fails with PAGE_TOKEN_INVALID. */
export function listDeliveries(
  call: Call,
  filter: DeliveryFilter,
  order: DeliveryOrder,
  request: PageRequest,
): Promise<Page<Delivery>> {
  const { tenantId } = call.principal;
  const conditions = [...deliveriesOf(call.principal, 'webhook:read'), ...conditionsOf(filter)];
  return read(call, async (em) => {
    const query = { table: 'delivery', conditions, ...byTime(order) };
    const page = await listPage(em, call.app.pageTokens, tenantId, query, request);
    return { ...page, items: page.items.map((row) => em.map(Delivery, row)) };
  });
}

/** What a filter says of rows. */
export function conditionsOf({ status, connectionId, host, createdFrom, createdBefore }: DeliveryFilter): Conditions {
  const conditions: Conditions = [];
  if (status) conditions.push({ sql: 'status = ?', params: [status] });
  // The same, for the index of what is due.
  if (status === 'PENDING' || status === 'DELIVERING') conditions.push({ sql: 'settle_time is null', params: [] });
  if (connectionId) conditions.push({ sql: 'connection_id = ?', params: [connectionId] });
  if (host) conditions.push({ sql: 'host = ?', params: [host] });
  if (createdFrom)
    conditions.push({ sql: 'create_time >= cast(? as timestamptz)', params: [createdFrom.toISOString()] });
  if (createdBefore)
    conditions.push({ sql: 'create_time < cast(? as timestamptz)', params: [createdBefore.toISOString()] });
  return conditions;
}
