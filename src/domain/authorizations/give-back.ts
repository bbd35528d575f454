import type { Authorization } from '../../model/authorization.ts';
import type { Account } from '../../oauth/identify.ts';
import type { TokenSet } from '../../oauth/token-set.ts';
import { systemCall } from '../access/principal.ts';
import type { App, OAuthSetup } from '../call.ts';
import { change } from '../change.ts';
import { addRevocation, isShared } from '../connections/schedule-revocation.ts';

/** Has tokens revoked that came and may not be kept, unless a connection lives by the same grant. */
export async function giveBack(
  app: App,
  { tenantId, connectionId }: Authorization,
  setup: OAuthSetup,
  tokens: TokenSet,
  account: Account | null,
): Promise<void> {
  // Not knowing whose grant it is, nobody can tell who else lives by it.
  if (!account) return;
  const seal = await app.keyring.sealer(tenantId);
  const call = systemCall(app, tenantId);
  const { provider } = setup.integration;
  await change(call, async (em) => {
    const same = { id: '', provider, providerAccountId: account.id };
    if (await isShared(em, tenantId, setup.client.clientId, same)) return;
    const of = { connectionId, provider, kept: { ...tokens.kept, ...account.kept } };
    await addRevocation(em, call, of, tokens, setup, seal);
  });
}
