import { listPage, type Page, type PageRequest } from '../../db/paging.ts';
import { AuditEntry } from '../../model/audit-entry.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';

/** Lists the tenant's audit entries, newest first. Fails with PAGE_TOKEN_INVALID. */
export function listAuditEntries(call: Call, request: PageRequest): Promise<Page<AuditEntry>> {
  return read(call, async (em) => {
    const page = await listPage<{ id: string }>(
      em,
      call.app.pageTokens,
      call.principal.tenantId,
      {
        table: 'audit_entry',
        conditions: [],
        orderBy: [{ column: 'id' }],
        descending: true,
        sortValues: (row) => [row.id],
      },
      request,
    );
    return { ...page, items: page.items.map((row) => em.map(AuditEntry, row)) };
  });
}
