import { listPage, type Page, type PageRequest } from '../../db/paging.ts';
import { User } from '../../model/user.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';

/** Lists the tenant's users, newest first. Fails with PAGE_TOKEN_INVALID. */
export function listUsers(call: Call, request: PageRequest): Promise<Page<User>> {
  return read(call, async (em) => {
    const page = await listPage<{ id: string }>(
      em,
      call.app.pageTokens,
      call.principal.tenantId,
      {
        table: 'app_user',
        conditions: [{ sql: 'delete_time is null', params: [] }],
        orderBy: [{ column: 'id' }],
        descending: true,
        sortValues: (row) => [row.id],
      },
      request,
    );
    return { ...page, items: page.items.map((row) => em.map(User, row)) };
  });
}
