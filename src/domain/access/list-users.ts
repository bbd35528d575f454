import { byTime, listPage, type Page, type PageRequest, type TimeOrder } from '../../db/paging.ts';
import { User } from '../../model/user.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';

/** Lists the tenant's users. Fails with PAGE_TOKEN_INVALID. */
export function listUsers(call: Call, order: TimeOrder, request: PageRequest): Promise<Page<User>> {
  return read(call, async (em) => {
    const query = { table: 'app_user', conditions: [{ sql: 'delete_time is null', params: [] }], ...byTime(order) };
    const page = await listPage(em, call.app.pageTokens, call.principal.tenantId, query, request);
    return { ...page, items: page.items.map((row) => em.map(User, row)) };
  });
}
