import type { ProviderAccount } from '../../model/provider-account.ts';
import type { ProviderInstance } from '../../providers/behaviour.ts';
import { behaviourOf } from '../../providers/behaviours.ts';
import { subjectOf } from '../access/find-user.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { removeConnection } from '../connections/delete-connection.ts';
import { event } from '../events/event.ts';
import { connectionOf } from './find-account.ts';
import { finishByJob } from './finish-by-job.ts';
import { type HeldAccount, holdAccount } from './hold-account.ts';

/** Removes an account: its use here ends first, then what is at the provider, then what is known of it. `instance` null: here alone. */
export function removeAccount(call: Call, id: string, instance: ProviderInstance | null): Promise<void> {
  return holdAccount(call, id, async (held) => {
    await endUse(call, held);
    if (instance) await behaviourOf(instance.provider).accounts!.remove(instance, held.state);
    await tellUserService(call, held.account);
    await held.change(async (em, account) => {
      em.remove(account);
      const resource = { type: 'account', id };
      const after = { removed_at_provider: instance !== null };
      audit(em, call, 'account_deleted', resource, { before: account.summary(), after });
      event(
        em,
        call,
        'account.deleted',
        { ...account.aggregate(), generation: account.generation + 1 },
        account.summary(),
      );
    });
  });
}

/** Ends the use of an account here, and has a job delete it at its provider. */
export function endUse(call: Call, held: HeldAccount): Promise<void> {
  return held.change(async (em, account) => {
    if (account.status === 'DELETING') return;
    account.status = 'DELETING';
    // What the provider does not take now is tried for a day from here on.
    account.updateTime = new Date(call.app.clock.now());
    await finishByJob(em, call.app, account);
    const connection = await connectionOf(em, account);
    if (!connection) return;
    account.connectionId = null;
    removeConnection(em, call, connection, 'NOTHING');
  });
}

async function tellUserService({ app }: Call, { tenantId, ownerUserId, userService }: ProviderAccount): Promise<void> {
  if (app.userService && ownerUserId && userService !== 'NONE')
    await app.userService.forget(await subjectOf(app, tenantId, ownerUserId));
}
