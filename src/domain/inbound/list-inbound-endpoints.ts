import { byTimeOrName, type Conditions, equals, listPage, type Page, type PageRequest } from '../../db/paging.ts';
import { InboundEndpoint } from '../../model/inbound-endpoint.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { seenBy } from './visibility.ts';

export type InboundEndpointOrder = 'CREATE_TIME_DESC' | 'CREATE_TIME_ASC' | 'NAME_ASC';

export type InboundEndpointFilter = {
  /** Undefined: any; null: only those without. */
  projectId: string | null | undefined;
  connectionId: string;
};

/** Lists the endpoints that the caller may see. Fails with PAGE_TOKEN_INVALID. */
export function listInboundEndpoints(
  call: Call,
  { projectId, connectionId }: InboundEndpointFilter,
  order: InboundEndpointOrder,
  request: PageRequest,
): Promise<Page<InboundEndpoint>> {
  const conditions: Conditions = [...seenBy(call.principal), ...equals('project_id', projectId)];
  if (connectionId) conditions.push({ sql: 'connection_id = ?', params: [connectionId] });
  return read(call, async (em) => {
    const query = { table: 'inbound_endpoint', conditions, ...byTimeOrName(order) };
    const page = await listPage(em, call.app.pageTokens, call.principal.tenantId, query, request);
    return { ...page, items: page.items.map((row) => em.map(InboundEndpoint, row)) };
  });
}
