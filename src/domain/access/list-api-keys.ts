import { byTime, listPage, type Page, type PageRequest, type TimeOrder } from '../../db/paging.ts';
import { ApiKey } from '../../model/api-key.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';

/** Lists the tenant's API keys. Fails with PAGE_TOKEN_INVALID. */
export function listApiKeys(call: Call, order: TimeOrder, request: PageRequest): Promise<Page<ApiKey>> {
  return read(call, async (em) => {
    const query = { table: 'api_key', conditions: [], ...byTime(order) };
    const page = await listPage(em, call.app.pageTokens, call.principal.tenantId, query, request);
    return { ...page, items: page.items.map((row) => em.map(ApiKey, row)) };
  });
}
