import { fieldInvalid } from '../../base/error.ts';
import { hot } from '../../db/hot.ts';
import { type Page, type PageRequest, pageSizeOf } from '../../db/paging.ts';
import type { StoredLimits, Tenant, TenantState } from '../../model/tenant.ts';
import type { Call } from '../call.ts';

export type TenantRow = Pick<
  Tenant,
  'tenantId' | 'displayName' | 'createTime' | 'state' | 'deleteTime' | 'eraseTime' | 'limits'
>;
type Row = {
  tenant_id: string;
  display_name: string;
  create_time: string;
  state: TenantState;
  delete_time: string | null;
  erase_time: string | null;
  limits: StoredLimits;
};

export type TenantOrder = 'ID_ASC' | 'ID_DESC';

/** Lists all tenants. Fails with PAGE_TOKEN_INVALID. */
export async function listTenants(call: Call, order: TenantOrder, request: PageRequest): Promise<Page<TenantRow>> {
  const { pool, pageTokens } = call.app;
  const scope = `${call.principal.tenantId} tenants ${order}`;
  if (request.pageToken && request.skip > 0) throw fieldInvalid('skip', 'goes without page_token');
  const [after] = request.pageToken ? pageTokens.read(scope, request.pageToken) : [''];
  const size = pageSizeOf(request.pageSize);
  const rows = await hot<Row>(pool, 'routeTenants', [after, order === 'ID_DESC', size + 1, request.skip]);
  const items = rows.slice(0, size).map((row) => ({
    tenantId: row.tenant_id,
    displayName: row.display_name,
    createTime: new Date(row.create_time),
    state: row.state,
    deleteTime: row.delete_time ? new Date(row.delete_time) : null,
    eraseTime: row.erase_time ? new Date(row.erase_time) : null,
    limits: row.limits,
  }));
  const last = rows.length > size ? items.at(-1) : undefined;
  return {
    items,
    nextPageToken: last ? pageTokens.issue(scope, [last.tenantId]) : '',
    totalSize: request.withTotalSize ? await countTenants(call) : undefined,
  };
}

async function countTenants(call: Call): Promise<number> {
  const [row] = await hot<{ count: string }>(call.app.pool, 'countTenants', []);
  return Number(row?.count ?? 0);
}
