import { randomBytes } from 'node:crypto';
import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import { enqueue } from '../../db/jobs.ts';
import type { ProviderAccount } from '../../model/provider-account.ts';
import type { AccountState, ProviderBehaviour, ProviderInstance } from '../../providers/behaviour.ts';
import { subjectOf } from '../access/find-user.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change, read } from '../change.ts';
import { refuseUnlessMayCreate } from '../connections/owner.ts';
import { event } from '../events/event.ts';
import { findProvider } from '../integrations/find-provider.ts';
import { behaviourAt, instanceFor } from '../integrations/provider-instance.ts';
import { sealState } from './account-state.ts';
import { completeAccount, isComplete } from './complete-account.ts';
import { accountOf } from './find-account.ts';

export type UsableAccount = { account: ProviderAccount; instance: ProviderInstance };

/** When an account that is not finished at once is gone on with by a job. */
const FINISHED_BY_JOB_MS = 20_000;

/**
 * The caller's account at a provider, ready to use: made, finished or mended as need be. `suspect`: its key was refused, and is looked at.
 * Fails with PROVIDER_NOT_FOUND, FIELD_INVALID, PERMISSION_MISSING, INTEGRATION_MISCONFIGURED, INTEGRATION_DISABLED, PROVIDER_UNAVAILABLE, PROVIDER_RATE_LIMITED,
 * USER_SERVICE_UNAVAILABLE, ADDRESS_FORBIDDEN.
 */
export async function ensureAccount(call: Call, provider: string, { suspect = false } = {}): Promise<UsableAccount> {
  const { app, principal } = call;
  const behaviour = await behaviourWithAccounts(call, provider);
  const instance = await instanceFor(app, principal.tenantId, provider);
  const known = (await read(call, (em) => accountOf(em, call, instance))) ?? (await begin(call, instance));
  if (!suspect && (await isComplete(call, known))) return { account: known, instance };
  // It goes on when the caller leaves, and the process does not end in the middle of a step.
  const account = await app.refreshes.hold(() => completeAccount(call, known.id, { behaviour, instance, suspect }));
  return { account, instance };
}

async function behaviourWithAccounts(call: Call, provider: string): Promise<ProviderBehaviour> {
  const found = await read(call, (em) => findProvider(call.app, em, call.principal.tenantId, provider));
  const behaviour = behaviourAt(found);
  if (!behaviour.accounts) throw fieldInvalid('provider', 'is one that Latchkey makes no accounts at');
  return behaviour;
}

/** Writes down name and password before anything is sent. An account that the user-service knows is taken over. */
async function begin(call: Call, instance: ProviderInstance): Promise<ProviderAccount> {
  refuseUnlessMayCreate(call);
  const { app, principal } = call;
  const { tenantId, userId } = principal;
  const id = newId('acct', app.clock.now());
  const known = await fromUserService(call, userId);
  const state = known ?? freshState(id);
  const seal = await app.keyring.sealer(tenantId);
  return change(call, async (em) => {
    const now = new Date(app.clock.now());
    const [inserted] = await em.execute<{ id: string }[]>(
      `insert into latchkey.provider_account (tenant_id, id, provider, base_url, owner_user_id, integration_id, status, username, remote_id, sealed, generation, lease_epoch, reported, create_time, update_time)
       values (?, ?, ?, ?, ?, ?, 'PROVISIONING', ?, ?, ?, 1, 0, false, ?, ?) on conflict do nothing returning id`,
      [
        ...[tenantId, id, instance.provider, instance.baseUrl, userId, instance.integrationId],
        ...[state.username, state.remoteId, sealState(seal, tenantId, id, 1, state), now, now],
      ],
    );
    const account = await accountOf(em, call, instance);
    // Deleted by somebody in between.
    if (!account)
      throw new LatchkeyError('PROVIDER_UNAVAILABLE', {
        retryAfterMs: 1_000,
        metadata: { provider_error: 'account_busy' },
      });
    if (!inserted) return account;
    const runAt = new Date(now.getTime() + FINISHED_BY_JOB_MS);
    await enqueue(em, 'finish_account', { tenantId, id }, { runAt });
    const after = { ...account.summary(), taken_over: known !== null };
    audit(em, call, 'account_begun', { type: 'account', id }, { after });
    event(em, call, 'account.begun', { type: 'account', id, generation: 1 }, after);
    return account;
  });
}

/** A name that nobody else has: one that is taken is ours. */
function freshState(id: string): AccountState {
  return {
    ...{ username: `latchkey-${id.slice('acct_'.length)}`, password: randomBytes(32).toString('base64url') },
    ...{ remoteId: '', active: false, apiKey: '', tokens: null },
  };
}

async function fromUserService(call: Call, userId: string | null): Promise<AccountState | null> {
  const { app, principal } = call;
  const { userService } = app;
  if (!userService || !userId) return null;
  const found = await userService.find(await subjectOf(app, principal.tenantId, userId));
  if (!found) return null;
  const { username, password, apiKey, langflowUserId: remoteId } = found;
  return { username, password, apiKey, remoteId, active: apiKey !== '', tokens: null };
}
