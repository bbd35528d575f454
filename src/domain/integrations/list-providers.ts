import { CustomProvider } from '../../model/provider.ts';
import { kindsOf } from '../../providers/provider.ts';
import type { Call, KnownProvider } from '../call.ts';
import { read } from '../change.ts';
import { builtInProvider, customProvider } from './find-provider.ts';

/** The built-in providers and the tenant's own, by name; empty kind: of any. */
export async function listProviders(call: Call, kind: string): Promise<KnownProvider[]> {
  const { tenantId } = call.principal;
  const own = tenantId ? await read(call, (em) => em.find(CustomProvider, { tenantId })) : [];
  const byName = new Map([...call.app.catalog.keys()].map((name) => [name, builtInProvider(call.app, name)!]));
  for (const provider of own) byName.set(provider.name, customProvider(provider));
  return [...byName.values()]
    .filter(({ definition }) => kind === '' || kindsOf(definition).includes(kind))
    .sort((a, b) => (a.definition.name < b.definition.name ? -1 : 1));
}
