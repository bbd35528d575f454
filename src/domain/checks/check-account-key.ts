import { ProviderAccount } from '../../model/provider-account.ts';
import { behaviourOf } from '../../providers/behaviours.ts';
import { openState } from '../accounts/account-state.ts';
import { read } from '../change.ts';
import { instanceFor } from '../integrations/provider-instance.ts';
import type { Check } from './check.ts';
import { type Finding, finding, notAsked } from './check-report.ts';

/** Asks a provider whose account it is by the key of an account that Latchkey made there. Null: it made none. */
export async function checkAccountKey({ call, view }: Check): Promise<Finding | null> {
  const { tenantId, id: connectionId, provider } = view.connection;
  const { checkKey } = behaviourOf(provider);
  const account = checkKey && (await read(call, (em) => em.findOne(ProviderAccount, { tenantId, connectionId })));
  if (!account) return null;
  const instance = await instanceFor(call.app, tenantId, provider);
  if (instance.baseUrl !== account.baseUrl)
    return notAsked(
      ...(['MISCONFIGURED', ''] as const),
      'The account is at another instance than the one that is set up now.',
      'Call EnsureAccount, which makes an account there.',
    );
  const works = await checkKey(instance, await openState(call.app, account));
  if (works.key) return finding('VALID', 0, { accountId: account.remoteId });
  return finding('INVALID', 0, { advice: 'Call EnsureAccount, which gives the account a new key.' });
}
