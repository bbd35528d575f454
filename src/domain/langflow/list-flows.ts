import { type NameOrder, type Page, type PageRequest, pageOf } from '../../db/paging.ts';
import type { Call } from '../call.ts';
import { type Flow, flowFrom } from './flow.ts';
import { withKey } from './with-key.ts';

export type FlowFilter = { text: string; folderId: string; component: boolean | undefined };

/** The account's flows, without their data. Langflow's own pages are of one folder alone, so all are fetched. Fails with PAGE_TOKEN_INVALID, too. */
export async function listFlows(
  call: Call,
  filter: FlowFilter,
  order: NameOrder,
  request: PageRequest,
): Promise<Page<Flow>> {
  const { app, principal, signal } = call;
  const documents = await withKey(call, { operation: 'flows' }, async ({ langflow, key, userId }) => {
    const all = await langflow.listFlows(key, signal);
    // 1.0 answers its examples, which are nobody's, to everybody.
    return all.filter(({ user_id: owner }) => owner === undefined || owner === userId);
  });
  const flows = documents
    .map((document) => flowFrom(document, { withData: false }))
    .filter((flow) => fits(flow, filter));
  return pageOf(
    app.pageTokens,
    JSON.stringify(['flows', principal.tenantId, principal.userId, filter]),
    flows.map((flow) => ({ item: flow, position: [flow.name, flow.id] })),
    order,
    request,
  );
}

function fits({ name, description, folderId, component }: Flow, filter: FlowFilter): boolean {
  const text = filter.text.toLowerCase();
  return (
    `${name}\n${description}`.toLowerCase().includes(text) &&
    (filter.folderId === '' || folderId === filter.folderId) &&
    (filter.component === undefined || component === filter.component)
  );
}
