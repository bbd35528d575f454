import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import { type Conditions, oneOf } from '../../db/paging.ts';
import type { Em } from '../../db/transaction.ts';
import { Connector } from '../../model/connector.ts';
import { projectAllowed } from '../access/projects.ts';
import type { Call, Principal } from '../call.ts';

/** The connectors of the caller's projects, and those of the whole tenant, as a condition on rows. What the caller may do with them the contract says. */
export function seenBy({ projectIds }: Principal): Conditions {
  if (projectIds === null) return [];
  const inProjects = oneOf('project_id', projectIds);
  return [{ sql: `project_id is null or ${inProjects.sql}`, params: inProjects.params }];
}

/** Fails with CONNECTOR_NOT_FOUND. */
export async function findConnector(em: Em, { principal }: Call, id: string): Promise<Connector> {
  const connector = await em.findOne(Connector, { tenantId: principal.tenantId, id });
  return seen(principal, connector, { connector_id: id });
}

/** The connector of a name in a project; null: of the whole tenant. Fails with CONNECTOR_NOT_FOUND. */
export async function findNamedConnector(
  em: Em,
  { principal }: Call,
  projectId: string | null,
  name: string,
): Promise<Connector> {
  const connector = await em.findOne(Connector, { tenantId: principal.tenantId, projectId, name });
  return seen(principal, connector, { name });
}

/** The same by id, locked until the transaction ends. Where an etag is given and another is current, fails with ETAG_MISMATCH, too. */
export async function lockConnector(em: Em, { principal }: Call, id: string, etag: string): Promise<Connector> {
  const key = { tenantId: principal.tenantId, id };
  const found = await em.findOne(Connector, key, { lockMode: LockMode.PESSIMISTIC_WRITE });
  const connector = seen(principal, found, { connector_id: id });
  if (etag && etag !== connector.etag())
    throw new LatchkeyError('ETAG_MISMATCH', { metadata: { etag: connector.etag() } });
  return connector;
}

function seen(principal: Principal, connector: Connector | null, metadata: Record<string, string>): Connector {
  if (connector && projectAllowed(principal, connector.projectId)) return connector;
  throw new LatchkeyError('CONNECTOR_NOT_FOUND', { metadata });
}
