import { behaviourOf } from '../../providers/behaviours.ts';
import type { App } from '../call.ts';
import { attemptAccount } from './attempt-account.ts';
import { completeAccount } from './complete-account.ts';
import { removeAccount } from './remove-account.ts';

/** Goes on with an account that is half made or half removed, as `attemptAccount` does. */
export function finishAccount(app: App, tenantId: string, id: string): Promise<number | null> {
  return attemptAccount(app, tenantId, id, {
    isWanted: ({ status, userService }) => status !== 'ACTIVE' || userService === 'STALE',
    work: (call, { status, provider }, instance) =>
      status === 'DELETING'
        ? removeAccount(call, id, instance)
        : completeAccount(call, id, { behaviour: behaviourOf(provider), instance, occasion: 'use' }),
  });
}
