import { enqueue } from '../../db/jobs.ts';
import { Connection } from '../../model/connection.ts';
import type { ProviderAccount } from '../../model/provider-account.ts';
import type { ProviderInstance } from '../../providers/behaviour.ts';
import { behaviourOf } from '../../providers/behaviours.ts';
import { subjectOf } from '../access/find-user.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce } from '../change.ts';
import { event } from '../events/event.ts';
import { type HeldAccount, holdAccount } from './hold-account.ts';

/** When a removal that was interrupted is gone on with by a job. */
const FINISHED_BY_JOB_MS = 20_000;

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
      event(em, call, 'account.deleted', { ...resource, generation: account.generation + 1 }, account.summary());
    });
  });
}

function endUse(call: Call, held: HeldAccount): Promise<void> {
  const { tenantId } = call.principal;
  return held.change(async (em, account) => {
    if (account.status === 'DELETING') return;
    account.status = 'DELETING';
    const runAt = new Date(call.app.clock.now() + FINISHED_BY_JOB_MS);
    await enqueue(em, 'finish_account', { tenantId, id: account.id }, { runAt });
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

async function tellUserService({ app }: Call, { tenantId, ownerUserId, userService }: ProviderAccount): Promise<void> {
  if (app.userService && ownerUserId && userService !== 'NONE')
    await app.userService.forget(await subjectOf(app, tenantId, ownerUserId));
}
