import { type NameOrder, type Page, type PageRequest, pageOf } from '../../db/paging.ts';
import type { Call } from '../call.ts';
import type { ConnectorType } from './connector-type.ts';
import { connectorTypes } from './connector-types.ts';

/** Lists the types of connectors. Fails with PAGE_TOKEN_INVALID. */
export function listConnectorTypes(
  { app, principal }: Call,
  order: NameOrder,
  request: PageRequest,
): Page<ConnectorType> {
  const entries = connectorTypes.map((item) => ({ item, position: [item.name, ''] as [string, string] }));
  return pageOf(app.pageTokens, `${principal.tenantId} connector types`, entries, order, request);
}
