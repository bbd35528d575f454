import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { CustomProvider } from '../../model/provider.ts';
import type { App, Call, KnownProvider } from '../call.ts';
import { read } from '../change.ts';

/** A provider by name, the tenant's own first; null where there is none. */
export async function lookUpProvider(app: App, em: Em, tenantId: string, name: string): Promise<KnownProvider | null> {
  const own = await em.findOne(CustomProvider, { tenantId, name });
  return own ? customProvider(own) : builtInProvider(app, name);
}

/** Fails with PROVIDER_NOT_FOUND. */
export async function findProvider(app: App, em: Em, tenantId: string, name: string): Promise<KnownProvider> {
  const found = await lookUpProvider(app, em, tenantId, name);
  if (!found) throw providerNotFound(name);
  return found;
}

export function builtInProvider({ catalog }: App, name: string): KnownProvider | null {
  const definition = catalog.get(name);
  return definition ? { definition, custom: false, etag: '' } : null;
}

export function customProvider(own: CustomProvider): KnownProvider {
  return { definition: own.definition, custom: true, etag: own.etag() };
}

export function providerNotFound(name: string): LatchkeyError {
  return new LatchkeyError('PROVIDER_NOT_FOUND', { metadata: { provider: name } });
}

/** The built-in providers and the tenant's own, which come before built-in ones of their names. */
export async function allProviders(call: Call): Promise<KnownProvider[]> {
  const { tenantId } = call.principal;
  const own = tenantId ? await read(call, (em) => em.find(CustomProvider, { tenantId })) : [];
  const byName = new Map([...call.app.catalog.keys()].map((name) => [name, builtInProvider(call.app, name)!]));
  for (const provider of own) byName.set(provider.name, customProvider(provider));
  return [...byName.values()];
}
