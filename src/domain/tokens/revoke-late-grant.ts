import type { TokenSet } from '../../oauth/token-set.ts';
import { systemCall } from '../access/principal.ts';
import type { App, OAuthSetup, ReadyCredential } from '../call.ts';
import { change } from '../change.ts';
import { addRevocation } from '../connections/schedule-revocation.ts';

/** Tokens came for a connection that was deleted or revoked meanwhile: nobody may use them, so the provider is told. */
export async function revokeLateGrant(
  app: App,
  { tenantId, connectionId, provider, secrets }: ReadyCredential,
  setup: OAuthSetup,
  tokens: TokenSet,
): Promise<void> {
  const seal = await app.keyring.sealer(tenantId);
  const call = systemCall(app, tenantId);
  const grant = { accessToken: tokens.accessToken, refreshToken: tokens.refreshToken ?? secrets.refresh_token ?? null };
  await change(call, (em) =>
    addRevocation(em, call, { connectionId, provider, kept: tokens.kept }, grant, setup, seal),
  );
}
