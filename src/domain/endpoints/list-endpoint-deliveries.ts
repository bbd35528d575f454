import { byTime, listPage, type Page, type PageRequest } from '../../db/paging.ts';
import { Delivery, type DeliveryStatus } from '../../model/delivery.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import type { DeliveryOrder } from '../webhooks/list-deliveries.ts';
import { findEndpoint } from './visibility.ts';

/** Lists the deliveries to an endpoint. Fails with EVENT_ENDPOINT_NOT_FOUND, PAGE_TOKEN_INVALID. */
export function listEndpointDeliveries(
  call: Call,
  endpointId: string,
  status: DeliveryStatus | undefined,
  order: DeliveryOrder,
  request: PageRequest,
): Promise<Page<Delivery>> {
  const { tenantId } = call.principal;
  // The purpose is that of the index.
  const conditions = [{ sql: `purpose <> 'webhook' and signed_by = ?`, params: [endpointId] as unknown[] }];
  if (status) conditions.push({ sql: 'status = ?', params: [status] });
  return read(call, async (em) => {
    await findEndpoint(em, call, endpointId);
    const query = { table: 'delivery', conditions, ...byTime(order) };
    const page = await listPage(em, call.app.pageTokens, tenantId, query, request);
    return { ...page, items: page.items.map((row) => em.map(Delivery, row)) };
  });
}
