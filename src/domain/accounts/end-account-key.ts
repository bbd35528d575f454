import { behaviourOf } from '../../providers/behaviours.ts';
import type { App } from '../call.ts';
import { read } from '../change.ts';
import { attemptAccount } from './attempt-account.ts';
import { connectionOf } from './find-account.ts';
import { holdAccount } from './hold-account.ts';

/** Ends the key of an account whose connection was revoked or deleted, as `attemptAccount` does. One that was renewed has ended the key before itself. */
export function endAccountKey(app: App, tenantId: string, id: string): Promise<number | null> {
  return attemptAccount(app, tenantId, id, {
    isWanted: ({ status }) => status === 'ACTIVE',
    work: (call, { provider }, instance) =>
      holdAccount(call, id, async ({ account, state, save }) => {
        const connection = await read(call, (em) => connectionOf(em, account));
        if (connection?.status === 'ACTIVE' || !state.apiKey) return;
        await behaviourOf(provider).accounts!.endKey(instance, state, save);
      }),
  });
}
