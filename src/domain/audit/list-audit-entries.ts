import { fieldInvalid } from '../../base/error.ts';
import { type Page, type PageRequest, pageSizeOf, type TimeOrder } from '../../db/paging.ts';
import type { Em } from '../../db/transaction.ts';
import { AuditEntry } from '../../model/audit-entry.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import type { AuditFilter } from './audit-filter.ts';
import { countQuery, entriesQuery, isLookedThrough, type Window } from './entries-query.ts';

type Row = { id: string | null; examined: string; reached: string | null };

/** Entries looked at for a page, a few first: more than that would make a page slow. */
const EXAMINED = [500, 9_500];

/**
 * Lists the tenant's audit entries that match; pages may be short where there are more.
 * Fails with PAGE_TOKEN_INVALID, FIELD_INVALID.
 */
export async function listAuditEntries(
  call: Call,
  filter: AuditFilter,
  order: TimeOrder,
  request: PageRequest,
): Promise<Page<AuditEntry>> {
  const { pageToken, skip, withTotalSize } = request;
  if (pageToken && skip > 0) throw fieldInvalid('skip', 'goes without page_token');
  const { tenantId } = call.principal;
  const tokens = call.app.pageTokens;
  const scope = JSON.stringify([tenantId, 'audit_entry', filter, order]);
  const [after = null] = pageToken ? (tokens.read(scope, pageToken) as string[]) : [];
  return read(call, async (em) => {
    const size = pageSizeOf(request.pageSize);
    const { items, next } = await findEntries(em, tenantId, filter, { order, after, skip, limit: size });
    const [counted] = withTotalSize ? await execute<{ total: string }>(em, countQuery(tenantId, filter)) : [];
    return {
      items: items.map((row) => em.map(AuditEntry, row)),
      nextPageToken: next ? tokens.issue(scope, [next]) : '',
      totalSize: counted && Number(counted.total),
    };
  });
}

async function findEntries(
  em: Em,
  tenantId: string,
  filter: AuditFilter,
  { order, after, skip, limit }: Omit<Window, 'examine'>,
): Promise<{ items: { id: string }[]; next: string | null }> {
  const items: { id: string }[] = [];
  let from = after;
  // Who counts pages must be given full ones.
  for (const examine of skip > 0 ? [null] : EXAMINED) {
    const window = { order, after: from, skip, limit: limit + 1 - items.length, examine };
    const rows = await execute<Row>(em, entriesQuery(tenantId, filter, window));
    items.push(...rows.filter((row): row is Row & { id: string } => row.id !== null));
    if (items.length > limit) return { items: items.slice(0, limit), next: items[limit - 1]!.id };
    const examined = Number(rows[0]?.examined ?? 0);
    if (!isLookedThrough(filter) || examine === null || examined < examine) return { items, next: null };
    from = rows[0]!.reached;
  }
  return { items, next: from };
}

function execute<T extends object>(em: Em, { sql, params }: { sql: string; params: readonly unknown[] }): Promise<T[]> {
  return em.execute<T[]>(sql, [...params]);
}
