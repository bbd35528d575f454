import { Connection } from '../../model/connection.ts';
import type { ProviderAccount } from '../../model/provider-account.ts';
import { behaviourOf } from '../../providers/behaviours.ts';
import { subjectOf } from '../access/find-user.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, read } from '../change.ts';
import { event } from '../events/event.ts';
import { misconfigured } from '../integrations/oauth-setup.ts';
import { instanceFor } from '../integrations/provider-instance.ts';
import { findAccount } from './find-account.ts';
import { type HeldAccount, holdAccount } from './hold-account.ts';

/**
 * Deletes an account here and at its provider. Its use here stops first; what a failure interrupts goes on at the next call.
 * Fails with ACCOUNT_NOT_FOUND, PERMISSION_MISSING, INTEGRATION_MISCONFIGURED, INTEGRATION_DISABLED, PROVIDER_UNAVAILABLE, PROVIDER_RATE_LIMITED,
 * USER_SERVICE_UNAVAILABLE.
 */
export async function deleteAccount(call: Call, id: string): Promise<void> {
  const { app, principal } = call;
  const { provider, baseUrl } = await read(call, (em) => findAccount(em, call, id, 'connection:delete'));
  const instance = await instanceFor(app, principal.tenantId, provider);
  if (instance.baseUrl !== baseUrl) throw misconfigured(instance.integrationId ?? '', 'instance_changed');
  await app.refreshes.hold(() =>
    holdAccount(app, principal.tenantId, id, async (held) => {
      await endUse(call, held);
      await behaviourOf(provider).accounts!.remove(instance, held.state);
      await held.save({ remoteId: '', active: false, apiKey: '', tokens: null });
      await tellUserService(call, held.account);
      await held.change(async (em, account) => {
        em.remove(account);
        const resource = { type: 'account', id };
        audit(em, call, 'account_deleted', resource, { before: account.summary() });
        event(em, call, 'account.deleted', { ...resource, generation: account.generation + 1 }, account.summary());
      });
    }),
  );
}

function endUse(call: Call, held: HeldAccount): Promise<void> {
  const { tenantId } = call.principal;
  return held.change(async (em, account) => {
    account.status = 'DELETING';
    const id = account.connectionId;
    const connection = id ? await em.findOne(Connection, { tenantId, id }) : null;
    if (!connection) return;
    account.connectionId = null;
    em.remove(connection);
    const resource = { type: 'connection', id: connection.id };
    audit(em, call, 'connection_deleted', resource, { before: connection.summary() });
    event(em, call, 'connection.deleted', { ...resource, generation: connection.version + 1 }, connection.summary());
    announce(em, { kind: 'connection', tenantId, id: connection.id });
  });
}

async function tellUserService({ app }: Call, { tenantId, ownerUserId }: ProviderAccount): Promise<void> {
  if (app.userService && ownerUserId) await app.userService.forget(await subjectOf(app, tenantId, ownerUserId));
}
