import { randomBytes } from 'node:crypto';
import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import { hot } from '../../db/hot.ts';
import type { ProviderAccount } from '../../model/provider-account.ts';
import type { AccountState, ProviderBehaviour, ProviderInstance } from '../../providers/behaviour.ts';
import { subjectOf } from '../access/find-user.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change, read } from '../change.ts';
import { refuseUnlessMayCreate } from '../connections/owner.ts';
import { refuseOverLimit } from '../connections/refuse-over-limit.ts';
import { event } from '../events/event.ts';
import { findProvider } from '../integrations/find-provider.ts';
import { behaviourAt, instanceFor } from '../integrations/provider-instance.ts';
import { sealState } from './account-state.ts';
import { completeAccount, isComplete, type Occasion } from './complete-account.ts';
import { accountOf } from './find-account.ts';
import { finishByJob } from './finish-by-job.ts';
import { accountBusy } from './hold-account.ts';
import { removeAccount } from './remove-account.ts';

export type UsableAccount = { account: ProviderAccount; instance: ProviderInstance };

/**
 * The caller's account at a provider, ready to use: made, finished or mended as need be.
 * Fails with PROVIDER_NOT_FOUND, FIELD_INVALID, PERMISSION_MISSING, INTEGRATION_MISCONFIGURED, INTEGRATION_DISABLED, PROVIDER_UNAVAILABLE,
 * PROVIDER_RATE_LIMITED, USER_SERVICE_UNAVAILABLE, ADDRESS_FORBIDDEN.
 */
export async function ensureAccount(call: Call, provider: string, occasion: Occasion): Promise<UsableAccount> {
  const behaviour = await behaviourWithAccounts(call, provider);
  const instance = await instanceFor(call.app, call.principal.tenantId, provider);
  refuseProjectKey(call);
  try {
    return { instance, account: await ensure(call, behaviour, instance, occasion) };
  } catch (error) {
    if (!(error instanceof LatchkeyError) || error.reason !== 'ACCOUNT_NOT_FOUND') throw error;
    // Deleted by somebody in the middle of it.
    return { instance, account: await ensure(call, behaviour, instance, occasion) };
  }
}

async function ensure(call: Call, behaviour: ProviderBehaviour, instance: ProviderInstance, occasion: Occasion) {
  let known = await read(call, (em) => accountOf(em, call, instance));
  if (known?.status === 'DELETING') {
    await removeAccount(call, known.id, instance);
    known = null;
  }
  known ??= await begin(call, behaviour, instance);
  if (occasion !== 'suspect' && (await isComplete(call, known))) return known;
  return completeAccount(call, known.id, { behaviour, instance, occasion });
}

/** An account of the whole tenant holds what belongs to all of its projects. */
function refuseProjectKey({ principal }: Call): void {
  if (principal.userId !== null || principal.projectIds === null) return;
  throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: 'connection:create' } });
}

async function behaviourWithAccounts(call: Call, provider: string): Promise<ProviderBehaviour> {
  const found = await read(call, (em) => findProvider(call.app, em, call.principal.tenantId, provider));
  const behaviour = behaviourAt(found);
  if (!behaviour.accounts) throw fieldInvalid('provider', 'is one that Latchkey makes no accounts at');
  return behaviour;
}

/** Writes down name and password before anything is sent, and only where there may be a connection for it. An account that the user-service knows is taken over. */
async function begin(call: Call, behaviour: ProviderBehaviour, instance: ProviderInstance): Promise<ProviderAccount> {
  refuseUnlessMayCreate(call);
  const { app, principal } = call;
  const { tenantId, userId } = principal;
  const id = newId('acct', app.clock.now());
  const { userService, known } = await fromUserService(call, behaviour, instance);
  const state = known ?? freshState(id);
  const seal = await app.keyring.sealer(tenantId);
  return change(call, async (em) => {
    await refuseOverLimit(em, call, 1);
    const now = new Date(app.clock.now());
    const [inserted] = await em.execute<{ id: string }[]>(
      `insert into latchkey.provider_account (tenant_id, id, provider, base_url, owner_user_id, integration_id, status, username, remote_id, sealed, generation, lease_epoch, user_service, create_time, update_time)
       values (?, ?, ?, ?, ?, ?, 'PROVISIONING', ?, ?, ?, 1, 0, ?, ?, ?) on conflict do nothing returning id`,
      [
        ...[tenantId, id, instance.provider, instance.baseUrl, userId, instance.integrationId],
        ...[state.username, state.remoteId, sealState(seal, tenantId, id, 1, state), userService, now, now],
      ],
    );
    const account = await accountOf(em, call, instance);
    if (!account) throw accountBusy();
    if (!inserted) return account;
    await finishByJob(em, app, account);
    const after = { ...account.summary(), taken_over: known !== null };
    audit(em, call, 'account_begun', { type: 'account', id }, { after });
    event(em, call, 'account.begun', account.aggregate(), after);
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

type FromUserService = { userService: ProviderAccount['userService']; known: AccountState | null };

/** It knows accounts at the operator's own instance, by user alone: what another tenant has is left to it. */
async function fromUserService(
  { app, principal }: Call,
  behaviour: ProviderBehaviour,
  instance: ProviderInstance,
): Promise<FromUserService> {
  const { tenantId, userId } = principal;
  const { provider, baseUrl, integrationId } = instance;
  const kept = behaviour.accounts!.inUserService && integrationId === null;
  if (!app.userService || !userId || !kept) return { userService: 'NONE', known: null };
  const record = await app.userService.find(await subjectOf(app, tenantId, userId));
  if (!record) return { userService: 'STALE', known: null };
  const known = await behaviour.accounts!.takeOver(instance, record);
  const remoteId = known?.remoteId ?? record.langflowUserId;
  const values = [tenantId, provider, baseUrl, remoteId];
  const [row] = await hot<{ anothers: boolean }>(app.pool, 'accountIsAnothers', values);
  return row!.anothers ? { userService: 'NONE', known: null } : { userService: 'STALE', known };
}
