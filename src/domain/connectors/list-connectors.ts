import { byTimeOrName, type Conditions, equals, listPage, type Page, type PageRequest } from '../../db/paging.ts';
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

/** Lists the connectors that the caller may see. Fails with PAGE_TOKEN_INVALID. */
export function listConnectors(
  call: Call,
  { projectId, type }: ConnectorFilter,
  order: ConnectorOrder,
  request: PageRequest,
): Promise<Page<Connector>> {
  const conditions: Conditions = [...seenBy(call.principal), ...equals('project_id', projectId)];
  if (type) conditions.push({ sql: 'type = ?', params: [type] });
  return read(call, async (em) => {
    const query = { table: 'connector', conditions, ...byTimeOrName(order) };
    const page = await listPage(em, call.app.pageTokens, call.principal.tenantId, query, request);
    return { ...page, items: page.items.map((row) => em.map(Connector, row)) };
  });
}
