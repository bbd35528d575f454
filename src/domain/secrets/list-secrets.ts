import {
  byName,
  type Conditions,
  equals,
  listPage,
  type NameOrder,
  oneOf,
  type Page,
  type PageRequest,
} from '../../db/paging.ts';
import { Secret } from '../../model/secret.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';

/** Lists secrets. `projectId` undefined: of all projects, null: of none. Fails with PAGE_TOKEN_INVALID. */
export function listSecrets(
  call: Call,
  projectId: string | null | undefined,
  order: NameOrder,
  request: PageRequest,
): Promise<Page<Secret>> {
  return read(call, async (em) => {
    const conditions = [...equals('project_id', projectId), ...ofCaller(call)];
    const query = { table: 'secret', conditions, ...byName(order) };
    const page = await listPage(em, call.app.pageTokens, call.principal.tenantId, query, request);
    return { ...page, items: page.items.map((row) => em.map(Secret, row)) };
  });
}

function ofCaller({ principal }: Call): Conditions {
  if (principal.projectIds === null) return [];
  const inProjects = oneOf('project_id', principal.projectIds);
  return [{ sql: `project_id is null or ${inProjects.sql}`, params: inProjects.params }];
}
