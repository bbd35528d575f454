import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { Connection } from '../../model/connection.ts';
import { Integration } from '../../model/integration.ts';
import { CustomProvider } from '../../model/provider.ts';
import type { ProviderDefinition } from '../../providers/types.ts';
import { audit } from '../audit/audit.ts';
import type { Call, KnownProvider } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { checkProvider } from './check-provider.ts';
import { customProvider, providerNotFound } from './find-provider.ts';
import { leadsElsewhere, refuseUnlessMayLead } from './hosts.ts';

/** Replaces a definition. Fails with PROVIDER_NOT_FOUND, ETAG_MISMATCH, FIELD_INVALID, ADDRESS_FORBIDDEN, PERMISSION_MISSING. */
export function updateProvider(call: Call, definition: ProviderDefinition, etag: string): Promise<KnownProvider> {
  checkProvider(call.app, definition);
  return change(call, async (em) => {
    const provider = await lockProvider(em, call, definition.name);
    if (etag && etag !== provider.etag())
      throw new LatchkeyError('ETAG_MISMATCH', { metadata: { etag: provider.etag() } });
    const before = provider.definition;
    const { tenantId } = provider;
    const using = await em.find(Integration, { tenantId, provider: provider.name }, { fields: ['id'] });
    const inUse = using.length > 0 || (await em.count(Connection, { tenantId, provider: provider.name })) > 0;
    if (inUse && leadsElsewhere(before, definition)) refuseUnlessMayLead(call.principal);
    provider.replace(definition, new Date(call.app.clock.now()));
    for (const { id } of using) announce(em, { kind: 'integration', tenantId, id });
    const resource = { type: 'provider', id: provider.name };
    audit(em, call, 'provider_updated', resource, { before, after: definition });
    event(em, call, 'provider.updated', { ...resource, generation: provider.version });
    return customProvider(provider);
  });
}

/** A provider of the tenant's own, locked until the transaction ends. Fails with PROVIDER_NOT_FOUND. */
export async function lockProvider(em: Em, { principal }: Call, name: string): Promise<CustomProvider> {
  const key = { tenantId: principal.tenantId, name };
  const provider = await em.findOne(CustomProvider, key, { lockMode: LockMode.PESSIMISTIC_WRITE });
  if (!provider) throw providerNotFound(name);
  return provider;
}
