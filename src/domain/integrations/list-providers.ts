import { type NameOrder, type Page, type PageRequest, pageOf } from '../../db/paging.ts';
import { kindsOf } from '../../providers/provider.ts';
import type { Call, KnownProvider } from '../call.ts';
import { allProviders } from './find-provider.ts';

/** The built-in providers and the tenant's own; empty kind: of any. Fails with PAGE_TOKEN_INVALID. */
export async function listProviders(
  call: Call,
  kind: string,
  order: NameOrder,
  request: PageRequest,
): Promise<Page<KnownProvider>> {
  const providers = (await allProviders(call)).filter(
    ({ definition }) => kind === '' || kindsOf(definition).includes(kind),
  );
  return pageOf(
    call.app.pageTokens,
    JSON.stringify(['providers', call.principal.tenantId, kind]),
    providers.map((provider) => ({ item: provider, position: [provider.definition.name, ''] })),
    order,
    request,
  );
}
