import { type Conditions, listPage, type Page, type PageRequest } from '../../db/paging.ts';
import { EventEndpoint } from '../../model/event-endpoint.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { seenBy } from './visibility.ts';

export type EndpointOrder = 'CREATE_TIME_DESC' | 'CREATE_TIME_ASC';

/**
 * Lists the endpoints that the caller may see. Fails with PAGE_TOKEN_INVALID.
 * @param projectId undefined: of any project; null: only those without
 */
export function listEndpoints(
  call: Call,
  projectId: string | null | undefined,
  order: EndpointOrder,
  request: PageRequest,
): Promise<Page<EventEndpoint>> {
  const conditions: Conditions = [...seenBy(call.principal)];
  if (projectId === null) conditions.push({ sql: 'project_id is null', params: [] });
  if (projectId) conditions.push({ sql: 'project_id = ?', params: [projectId] });
  return read(call, async (em) => {
    // Ids are in order of creation.
    const ordering = { orderBy: [{ column: 'id' }], descending: order === 'CREATE_TIME_DESC' };
    const query = { table: 'event_endpoint', conditions, ...ordering, sortValues: (row: { id: string }) => [row.id] };
    const page = await listPage<{ id: string }>(em, call.app.pageTokens, call.principal.tenantId, query, request);
    return { ...page, items: page.items.map((row) => em.map(EventEndpoint, row)) };
  });
}
