import { storableText } from '../../base/storable-text.ts';
import type { Authorization } from '../../model/authorization.ts';
import { exchangeCode } from '../../oauth/exchange-code.ts';
import { type Account, identify } from '../../oauth/identify.ts';
import { OAuthError } from '../../oauth/oauth-error.ts';
import type { TokenSet } from '../../oauth/token-set.ts';
import { fillIn } from '../../providers/template.ts';
import type { App, OAuthSetup } from '../call.ts';
import { loadCredential } from '../connections/load-credential.ts';
import { oauthFailure } from '../integrations/oauth-failure.ts';
import { loadOAuthSetupOf } from '../integrations/oauth-setup.ts';
import { fail, succeed } from './end-authorization.ts';
import { giveBack } from './give-back.ts';
import { openSecrets } from './secrets-of.ts';

/** Turns what came back into tokens and stores them. Answers the authorization as it ended; throws only where that cannot be written down. */
export async function exchange(
  app: App,
  authorization: Authorization,
  state: string,
  callback: URLSearchParams,
): Promise<Authorization> {
  const { tenantId, integrationId, redirectUri } = authorization;
  try {
    const setup = await loadOAuthSetupOf(app, tenantId, integrationId);
    const { verifier, nonce } = await openSecrets(app, authorization);
    const { resource } = setup.integration;
    const tokens = await exchangeCode(setup.client, { callback, state, redirectUri, verifier, nonce, resource });
    return await accept(app, authorization, setup, tokens, callback);
  } catch (error) {
    return fail(app, authorization, oauthFailure(error, integrationId));
  }
}

/** Finds out whose account it is, and stores. */
export async function accept(
  app: App,
  authorization: Authorization,
  setup: OAuthSetup,
  tokens: TokenSet,
  callback: URLSearchParams,
): Promise<Authorization> {
  const kept = (setup.client.definition.keptCallbackParameters ?? []).flatMap((name) => {
    const value = callback.get(name);
    return value === null ? [] : [[name, storableText(value, 1_000)]];
  });
  const keptFromCallback = Object.fromEntries(kept) as Record<string, string>;
  let account: Account | null = null;
  try {
    account = await accountOf(app, setup, tokens, callback);
    const before = await loadCredential(app, authorization.tenantId, authorization.connectionId);
    return await succeed(app, authorization, setup, { tokens, account, keptFromCallback, before });
  } catch (error) {
    // Nobody will ever use these.
    await giveBack(app, authorization, setup, tokens, account).catch((cause: unknown) =>
      app.log.error({ err: cause, authorizationId: authorization.id }, 'a grant that was refused was not given back'),
    );
    throw error;
  }
}

const IDENTIFY_TRIES = 3;

/**
 * Whose account it is; null where the provider refuses to say, as for want of a scope. Fails with PROVIDER_UNAVAILABLE where it does not answer: the answer decides
 * whether the grant may be taken.
 */
async function accountOf(
  app: App,
  { client, parameters }: OAuthSetup,
  tokens: TokenSet,
  callback: URLSearchParams,
): Promise<Account | null> {
  const { identity } = client.definition;
  if (!identity) return null;
  const url = identity.url ? fillIn(identity.url, { ...parameters, ...tokens.kept }) : '';
  for (let tries = 1; ; tries++) {
    try {
      const account = await identify(app.egress.fetch, { ...identity, url }, tokens, callback);
      return account.id === '' ? null : account;
    } catch (error) {
      if (!(error instanceof OAuthError)) throw error;
      const passing = error.failure === 'unavailable' || error.failure === 'rate_limited';
      if (passing && tries < IDENTIFY_TRIES) continue;
      if (passing) throw error;
      app.log.warn({ err: error }, 'a provider refused to say whose account it is');
      return null;
    }
  }
}
