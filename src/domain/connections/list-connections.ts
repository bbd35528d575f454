import { byTimeOrName, type Conditions, equals, listPage, type Page, type PageRequest } from '../../db/paging.ts';
import { Connection, type CredentialKind } from '../../model/connection.ts';
import type { Health } from '../../model/connection-health.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { type ConnectionStatus, statusCondition } from './connection-status.ts';
import { type ConnectionView, viewsOf } from './connection-view.ts';
import { seenBy } from './visibility.ts';

export type ConnectionOrder = 'CREATE_TIME_DESC' | 'CREATE_TIME_ASC' | 'UPDATE_TIME_DESC' | 'NAME_ASC';

/** Undefined: any; null: only those without. */
export type ConnectionFilter = {
  projectId: string | null | undefined;
  ownerUserId: string | null | undefined;
  provider: string | undefined;
  kind: CredentialKind | undefined;
  status: ConnectionStatus | undefined;
  enabled: boolean | undefined;
  labels: Record<string, string>;
  text: string;
  integrationId: string | undefined;
  expiresBefore: Date | null;
  missingScope: string;
  health: Health | undefined;
};

type Row = { id: string; name: string; update_time: string };

const LAST_CHANGED = {
  orderBy: [{ column: 'update_time', cast: 'timestamptz' }, { column: 'id' }],
  descending: true,
  sortValues: (row: Row) => [row.update_time, row.id],
};

/** Lists the connections that the caller may see. Fails with PAGE_TOKEN_INVALID. */
export function listConnections(
  call: Call,
  filter: ConnectionFilter,
  order: ConnectionOrder,
  request: PageRequest,
): Promise<Page<ConnectionView>> {
  const { tenantId } = call.principal;
  const conditions = [...seenBy(call.principal), ...conditionsOf(filter)];
  return read(call, async (em) => {
    const query = {
      table: 'connection',
      conditions,
      ...(order === 'UPDATE_TIME_DESC' ? LAST_CHANGED : byTimeOrName(order)),
    };
    const page = await listPage<Row>(em, call.app.pageTokens, tenantId, query, request);
    const connections = page.items.map((row) => em.map(Connection, row));
    return { ...page, items: await viewsOf(em, tenantId, connections) };
  });
}

function conditionsOf(filter: ConnectionFilter): Conditions {
  const conditions: Conditions = [
    ...equals('project_id', filter.projectId),
    ...equals('owner_user_id', filter.ownerUserId),
  ];
  if (filter.provider) conditions.push({ sql: 'provider = ?', params: [filter.provider] });
  if (filter.kind) conditions.push({ sql: 'kind = ?', params: [filter.kind] });
  if (filter.enabled !== undefined) conditions.push({ sql: 'enabled = ?', params: [filter.enabled] });
  if (filter.status) conditions.push({ sql: statusCondition(filter.status), params: [] });
  if (Object.keys(filter.labels).length > 0) {
    conditions.push({ sql: 'labels @> cast(? as jsonb)', params: [JSON.stringify(filter.labels)] });
  }
  if (filter.integrationId) conditions.push({ sql: 'integration_id = ?', params: [filter.integrationId] });
  if (filter.expiresBefore) {
    const sql =
      'exists (select from latchkey.credential k where k.tenant_id = connection.tenant_id and k.connection_id = connection.id and k.expire_time < cast(? as timestamptz))';
    conditions.push({ sql, params: [filter.expiresBefore.toISOString()] });
  }
  if (filter.missingScope) {
    const required =
      "kind = 'oauth2' and not jsonb_exists(granted_scopes, ?) and exists (select from latchkey.integration i where i.tenant_id = connection.tenant_id and i.id = connection.integration_id and jsonb_exists(i.required_scopes, ?))";
    const params = [filter.missingScope, filter.missingScope, filter.missingScope];
    conditions.push({ sql: `jsonb_exists(missing_scopes, ?) or (${required})`, params });
  }
  if (filter.health) {
    const row =
      'from latchkey.connection_health h where h.tenant_id = connection.tenant_id and h.connection_id = connection.id';
    // One that was never checked has no row.
    conditions.push({ sql: `coalesce((select h.health ${row}), 'UNKNOWN') = ?`, params: [filter.health] });
  }
  if (filter.text) {
    const pattern = `%${filter.text.replace(/[\\%_]/g, '\\$&')}%`;
    const sql = 'name ilike ? or display_name ilike ? or provider_account_email ilike ?';
    conditions.push({ sql, params: [pattern, pattern, pattern] });
  }
  return conditions;
}
