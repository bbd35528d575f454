import type { Sealer } from '../../crypto/keyring.ts';
import { type ProviderAccount, providerAccountPlace } from '../../model/provider-account.ts';
import type { AccountState } from '../../providers/behaviour.ts';
import type { App } from '../call.ts';

/** What is known of an account, opened. Throws IntegrityError. */
export async function openState({ keyring }: App, account: ProviderAccount): Promise<AccountState> {
  const { tenantId, id, generation } = account;
  const opened = await keyring.open(providerAccountPlace(tenantId, id, generation), account.sealed);
  const state = JSON.parse(opened.toString()) as AccountState;
  opened.fill(0);
  return state;
}

export function sealState(seal: Sealer, tenantId: string, id: string, generation: number, state: AccountState): Buffer {
  const plaintext = Buffer.from(JSON.stringify(state));
  const sealed = seal(providerAccountPlace(tenantId, id, generation), plaintext);
  plaintext.fill(0);
  return sealed;
}
