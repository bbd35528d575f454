import type { Call, KnownProvider } from '../call.ts';
import { read } from '../change.ts';
import { builtInProvider, findProvider, providerNotFound } from './find-provider.ts';

/** One provider. Who calls without a credential sees the built-in ones. Fails with PROVIDER_NOT_FOUND. */
export async function getProvider(call: Call, name: string): Promise<KnownProvider> {
  const { tenantId } = call.principal;
  if (tenantId) return read(call, (em) => findProvider(call.app, em, tenantId, name));
  const found = builtInProvider(call.app, name);
  if (!found) throw providerNotFound(name);
  return found;
}
