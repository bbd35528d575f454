import { byTime, listPage, type Page, type PageRequest, type TimeOrder } from '../../db/paging.ts';
import { Integration } from '../../model/integration.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { type IntegrationView, viewsOf } from './integration-view.ts';

/** The integrations of the tenant; empty provider: of any. Fails with PAGE_TOKEN_INVALID. */
export function listIntegrations(
  call: Call,
  provider: string,
  order: TimeOrder,
  request: PageRequest,
): Promise<Page<IntegrationView>> {
  return read(call, async (em) => {
    const query = {
      table: 'integration',
      conditions: provider ? [{ sql: 'provider = ?', params: [provider] }] : [],
      ...byTime(order),
    };
    const page = await listPage(em, call.app.pageTokens, call.principal.tenantId, query, request);
    const integrations = page.items.map((row) => em.map(Integration, row));
    return { ...page, items: await viewsOf(em, call, integrations) };
  });
}
