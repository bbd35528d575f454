import { type Conditions, listPage, type NameOrder, oneOf, type Page, type PageRequest } from '../../db/paging.ts';
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
    const page = await listPage<{ id: string; name: string }>(
      em,
      call.app.pageTokens,
      call.principal.tenantId,
      {
        table: 'secret',
        conditions: [...ofProject(projectId), ...ofCaller(call)],
        orderBy: [{ column: 'name' }, { column: 'id' }],
        descending: order === 'NAME_DESC',
        sortValues: (row) => [row.name, row.id],
      },
      request,
    );
    return { ...page, items: page.items.map((row) => em.map(Secret, row)) };
  });
}

function ofProject(projectId: string | null | undefined): Conditions {
  if (projectId === undefined) return [];
  return projectId === null
    ? [{ sql: 'project_id is null', params: [] }]
    : [{ sql: 'project_id = ?', params: [projectId] }];
}

function ofCaller({ principal }: Call): Conditions {
  if (principal.projectIds === null) return [];
  const inProjects = oneOf('project_id', principal.projectIds);
  return [{ sql: `project_id is null or ${inProjects.sql}`, params: inProjects.params }];
}
