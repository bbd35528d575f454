import { oneOf } from '../../db/paging.ts';
import type { Em } from '../../db/transaction.ts';
import type { Integration } from '../../model/integration.ts';
import { IntegrationSecret } from '../../model/integration-secret.ts';
import type { Call } from '../call.ts';
import { lookUpProvider } from './find-provider.ts';
import { redirectUri } from './redirect-uri.ts';

/** An integration as it is shown: without its secrets. */
export type IntegrationView = {
  integration: Integration;
  redirectUri: string;
  secrets: { id: string; createTime: Date }[];
  /** Connections by stored status. */
  connectionCounts: Record<string, number>;
};

/** Views of integrations of the caller's tenant, in their order. */
export async function viewsOf(em: Em, call: Call, integrations: Integration[]): Promise<IntegrationView[]> {
  const { tenantId } = call.principal;
  const ids = integrations.map(({ id }) => id);
  if (ids.length === 0) return [];
  const secrets = await em.find(
    IntegrationSecret,
    { tenantId, integrationId: { $in: ids } },
    { orderBy: { position: 'asc' } },
  );
  const inThese = oneOf('integration_id', ids);
  const counts = await em.execute<{ integration_id: string; status: string; count: string }[]>(
    `select integration_id, status, count(*) as count from latchkey.connection where tenant_id = ? and ${inThese.sql} group by 1, 2`,
    [tenantId, ...inThese.params],
  );
  const views: IntegrationView[] = [];
  for (const integration of integrations) {
    const known = await lookUpProvider(call.app, em, tenantId, integration.provider);
    const own = counts.filter((row) => row.integration_id === integration.id);
    views.push({
      integration,
      redirectUri: known ? redirectUri(call.app, known, integration) : '',
      secrets: secrets.filter((secret) => secret.integrationId === integration.id),
      connectionCounts: Object.fromEntries(own.map((row) => [row.status, Number(row.count)])),
    });
  }
  return views;
}

/** The view of one integration. */
export async function viewOf(em: Em, call: Call, integration: Integration): Promise<IntegrationView> {
  const [view] = await viewsOf(em, call, [integration]);
  return view!;
}
