import { type Conditions, type ListQuery, listPage, type Page, type PageRequest } from '../../db/paging.ts';
import { Connector } from '../../model/connector.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { seenBy } from './visibility.ts';

export type ConnectorOrder = 'CREATE_TIME_DESC' | 'CREATE_TIME_ASC' | 'NAME_ASC';

export type ConnectorFilter = {
  /** Undefined: any; null: only those without. */
  projectId: string | null | undefined;
  /** Empty: any. */
  type: string;
};

type Row = { id: string; name: string };
type Ordering = Pick<ListQuery<Row>, 'orderBy' | 'descending' | 'sortValues'>;

/** Each order has its index; ids are in order of creation. */
const ORDERS: Record<ConnectorOrder, Ordering> = {
  CREATE_TIME_DESC: { orderBy: [{ column: 'id' }], descending: true, sortValues: ({ id }) => [id] },
  CREATE_TIME_ASC: { orderBy: [{ column: 'id' }], descending: false, sortValues: ({ id }) => [id] },
  NAME_ASC: {
    orderBy: [{ column: 'name' }, { column: 'id' }],
    descending: false,
    sortValues: ({ name, id }) => [name, id],
  },
};

/** Lists the connectors that the caller may see. Fails with PAGE_TOKEN_INVALID. */
export function listConnectors(
  call: Call,
  { projectId, type }: ConnectorFilter,
  order: ConnectorOrder,
  request: PageRequest,
): Promise<Page<Connector>> {
  const conditions: Conditions = seenBy(call.principal);
  if (projectId === null) conditions.push({ sql: 'project_id is null', params: [] });
  if (projectId) conditions.push({ sql: 'project_id = ?', params: [projectId] });
  if (type) conditions.push({ sql: 'type = ?', params: [type] });
  return read(call, async (em) => {
    const query = { table: 'connector', conditions, ...ORDERS[order] };
    const page = await listPage<Row>(em, call.app.pageTokens, call.principal.tenantId, query, request);
    return { ...page, items: page.items.map((row) => em.map(Connector, row)) };
  });
}
