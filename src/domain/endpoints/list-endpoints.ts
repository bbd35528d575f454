import { byTime, equals, listPage, type Page, type PageRequest, type TimeOrder } from '../../db/paging.ts';
import { EventEndpoint } from '../../model/event-endpoint.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { seenBy } from './visibility.ts';

/**
 * Lists the endpoints that the caller may see. Fails with PAGE_TOKEN_INVALID.
 * @param projectId undefined: of any project; null: only those without
 */
export function listEndpoints(
  call: Call,
  projectId: string | null | undefined,
  order: TimeOrder,
  request: PageRequest,
): Promise<Page<EventEndpoint>> {
  const conditions = [...seenBy(call.principal), ...equals('project_id', projectId)];
  return read(call, async (em) => {
    const query = { table: 'event_endpoint', conditions, ...byTime(order) };
    const page = await listPage(em, call.app.pageTokens, call.principal.tenantId, query, request);
    return { ...page, items: page.items.map((row) => em.map(EventEndpoint, row)) };
  });
}
