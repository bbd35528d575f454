import { LatchkeyError } from '../../base/error.ts';
import { brokenUniqueConstraint } from '../../db/errors.ts';
import { CustomProvider } from '../../model/provider.ts';
import type { ProviderDefinition } from '../../providers/types.ts';
import { audit } from '../audit/audit.ts';
import type { Call, KnownProvider } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';
import { checkProvider } from './check-provider.ts';
import { customProvider } from './find-provider.ts';

/** Adds a provider of the tenant's own. Fails with PROVIDER_NAME_TAKEN, FIELD_INVALID, ADDRESS_FORBIDDEN. */
export function createProvider(call: Call, definition: ProviderDefinition): Promise<KnownProvider> {
  const { name } = definition;
  checkProvider(call.app, definition);
  if (call.app.catalog.has(name)) throw nameTaken(name);
  const now = new Date(call.app.clock.now());
  return change(call, async (em) => {
    const { tenantId } = call.principal;
    const provider = em.create(CustomProvider, {
      ...{ tenantId, name, definition, version: 1, createTime: now, updateTime: now },
    });
    await em.flush().catch((error: unknown) => {
      throw brokenUniqueConstraint(error) === 'provider_pkey' ? nameTaken(name) : error;
    });
    const resource = { type: 'provider', id: name };
    audit(em, call, 'provider_created', resource, { after: definition });
    event(em, call, 'provider.created', { ...resource, generation: 1 });
    return customProvider(provider);
  });
}

function nameTaken(name: string): LatchkeyError {
  return new LatchkeyError('PROVIDER_NAME_TAKEN', { metadata: { provider: name } });
}
