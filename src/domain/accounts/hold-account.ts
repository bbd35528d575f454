import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { ProviderAccount } from '../../model/provider-account.ts';
import type { AccountState, SaveAccount } from '../../providers/behaviour.ts';
import type { App, Call } from '../call.ts';
import { announce, changeIn } from '../change.ts';
import { openState, sealState } from './account-state.ts';
import { accountNotFound } from './find-account.ts';

/** A replica that died holding an account is given up after so long; one that lives says so in time. */
const LEASE_MS = 15_000;
const RENEW_MS = 5_000;
const LOOK_MS = 250;

/** An account that nobody else works on meanwhile. */
export type HeldAccount = {
  account: ProviderAccount;
  /** As it was when the account was taken; follows what is saved. */
  state: AccountState;
  save: SaveAccount;
  /** One transaction on the account's row, unless somebody has taken over. */
  change<T>(work: (em: Em, account: ProviderAccount) => Promise<T>): Promise<T>;
};

/**
 * Works on an account while nobody else does, on whatever replica. Waits for who is at it as long as its own caller does, without a connection of the
 * database; the work itself goes on when the caller leaves, and the process does not end in the middle of it.
 * Fails with ACCOUNT_NOT_FOUND, or PROVIDER_UNAVAILABLE where others stay at it, or have taken over because this process stood still.
 */
export async function holdAccount<T>(
  { app, principal, signal }: Pick<Call, 'app' | 'principal' | 'signal'>,
  id: string,
  work: (held: HeldAccount) => Promise<T>,
): Promise<T> {
  const { tenantId } = principal;
  const epoch = await take(app, tenantId, id, signal);
  return app.refreshes.hold(() => keeping(app, tenantId, id, epoch, work));
}

async function keeping<T>(
  app: App,
  tenantId: string,
  id: string,
  epoch: number,
  work: (held: HeldAccount) => Promise<T>,
): Promise<T> {
  const renewing = setInterval(() => {
    void renew(app, tenantId, id, epoch).catch((error: unknown) =>
      app.log.warn({ err: error, accountId: id }, 'the lease of an account was not renewed'),
    );
  }, RENEW_MS);
  try {
    return await work(await held(app, tenantId, id, epoch));
  } finally {
    clearInterval(renewing);
    await release(app, tenantId, id, epoch);
  }
}

async function take(app: App, tenantId: string, id: string, signal: AbortSignal): Promise<number> {
  for (;;) {
    const waiting = app.changes.wait({ kind: 'account', tenantId, id }, LOOK_MS * (0.5 + Math.random()), signal);
    const taken = await changeIn(app, tenantId, async (em) => {
      const [row] = await em.execute<{ lease_epoch: number }[]>(
        `update latchkey.provider_account set lease_epoch = lease_epoch + 1, lease_until = clock_timestamp() + ? * interval '1 ms'
          where tenant_id = ? and id = ? and (lease_until is null or lease_until < clock_timestamp()) returning lease_epoch`,
        [LEASE_MS, tenantId, id],
      );
      if (!row && !(await em.findOne(ProviderAccount, { tenantId, id }))) throw accountNotFound(id);
      return row?.lease_epoch;
    });
    if (taken !== undefined) return taken;
    if (signal.aborted) throw accountBusy();
    await waiting;
  }
}

function renew(app: App, tenantId: string, id: string, epoch: number): Promise<unknown> {
  return changeIn(app, tenantId, (em) =>
    em.execute(
      `update latchkey.provider_account set lease_until = clock_timestamp() + ? * interval '1 ms' where tenant_id = ? and id = ? and lease_epoch = ?`,
      [LEASE_MS, tenantId, id, epoch],
    ),
  );
}

async function release(app: App, tenantId: string, id: string, epoch: number): Promise<void> {
  try {
    await changeIn(app, tenantId, async (em) => {
      await em.execute(
        'update latchkey.provider_account set lease_until = null where tenant_id = ? and id = ? and lease_epoch = ?',
        [tenantId, id, epoch],
      );
      announce(em, { kind: 'account', tenantId, id });
    });
  } catch (error) {
    app.log.warn({ err: error, accountId: id }, 'the lease of an account ends by its time');
  }
}

async function held(app: App, tenantId: string, id: string, epoch: number): Promise<HeldAccount> {
  const account = await changeIn(app, tenantId, (em) => em.findOneOrFail(ProviderAccount, { tenantId, id }));
  const state = await openState(app, account);
  const seal = await app.keyring.sealer(tenantId);
  const change: HeldAccount['change'] = (work) =>
    changeIn(app, tenantId, async (em) => {
      const mine = await em.findOne(
        ProviderAccount,
        { tenantId, id, leaseEpoch: epoch },
        { lockMode: LockMode.PESSIMISTIC_WRITE },
      );
      if (!mine) throw accountBusy();
      return work(em, mine);
    });
  return {
    ...{ account, state, change },
    async save(achieved) {
      const next = { ...state, ...achieved };
      await change(async (em, mine) => {
        const generation = mine.generation + 1;
        em.assign(mine, {
          ...{ generation, sealed: sealState(seal, tenantId, id, generation, next) },
          ...{ username: next.username, remoteId: next.remoteId, updateTime: new Date(app.clock.now()) },
        });
      });
      Object.assign(state, next);
    },
  };
}

/** Somebody else is at it, and asking again will do. */
export function accountBusy(): LatchkeyError {
  return new LatchkeyError('PROVIDER_UNAVAILABLE', {
    retryAfterMs: 1_000,
    metadata: { provider_error: 'account_busy' },
  });
}
