import { type Conditions, type ListQuery, listPage, type Page, type PageRequest } from '../../db/paging.ts';
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

type Row = { id: string; name: string };
type Ordering = Pick<ListQuery<Row>, 'orderBy' | 'descending' | 'sortValues'>;

const ORDERS: Record<InboundEndpointOrder, Ordering> = {
  CREATE_TIME_DESC: { orderBy: [{ column: 'id' }], descending: true, sortValues: ({ id }) => [id] },
  CREATE_TIME_ASC: { orderBy: [{ column: 'id' }], descending: false, sortValues: ({ id }) => [id] },
  NAME_ASC: {
    orderBy: [{ column: 'name' }, { column: 'id' }],
    descending: false,
    sortValues: ({ name, id }) => [name, id],
  },
};

/** Lists the endpoints that the caller may see. Fails with PAGE_TOKEN_INVALID. */
export function listInboundEndpoints(
  call: Call,
  { projectId, connectionId }: InboundEndpointFilter,
  order: InboundEndpointOrder,
  request: PageRequest,
): Promise<Page<InboundEndpoint>> {
  const conditions: Conditions = seenBy(call.principal);
  if (projectId === null) conditions.push({ sql: 'project_id is null', params: [] });
  if (projectId) conditions.push({ sql: 'project_id = ?', params: [projectId] });
  if (connectionId) conditions.push({ sql: 'connection_id = ?', params: [connectionId] });
  return read(call, async (em) => {
    const query = { table: 'inbound_endpoint', conditions, ...ORDERS[order] };
    const page = await listPage<Row>(em, call.app.pageTokens, call.principal.tenantId, query, request);
    return { ...page, items: page.items.map((row) => em.map(InboundEndpoint, row)) };
  });
}
