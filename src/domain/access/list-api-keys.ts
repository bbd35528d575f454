import { listPage, type Page, type PageRequest } from '../../db/paging.ts';
import { ApiKey } from '../../model/api-key.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';

/** Lists the tenant's API keys, newest first. Fails with PAGE_TOKEN_INVALID. */
export function listApiKeys(call: Call, request: PageRequest): Promise<Page<ApiKey>> {
  return read(call, async (em) => {
    const page = await listPage<{ id: string }>(
      em,
      call.app.pageTokens,
      call.principal.tenantId,
      {
        table: 'api_key',
        conditions: [],
        orderBy: [{ column: 'id' }],
        descending: true,
        sortValues: (row) => [row.id],
      },
      request,
    );
    return { ...page, items: page.items.map((row) => em.map(ApiKey, row)) };
  });
}
