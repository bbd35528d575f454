import { LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import { hot } from '../../db/hot.ts';
import { Authorization } from '../../model/authorization.ts';
import { Connection } from '../../model/connection.ts';
import { Credential } from '../../model/credential.ts';
import { Tenant } from '../../model/tenant.ts';
import { systemCall } from '../access/principal.ts';
import { audit } from '../audit/audit.ts';
import type { App, OAuthSetup } from '../call.ts';
import { change, read } from '../change.ts';
import { refuseDisabled } from '../integrations/find-integration.ts';
import { loadOAuthSetupOf } from '../integrations/oauth-setup.ts';
import { redirectUri } from '../integrations/redirect-uri.ts';
import { readReconnectToken } from '../tokens/reconnect-url.ts';
import { fail } from './end-authorization.ts';
import { prepareRequest } from './prepare-request.ts';
import { scopesToRequest } from './scopes.ts';
import { hashText, sealSecrets } from './secrets-of.ts';
import { AUTHORIZATION_MS } from './start-authorization.ts';

/**
 * A person's browser came with a ticket: binds the authorization to it, and answers where to send it. A ticket is good once.
 * Fails with AUTHORIZATION_STATE_INVALID, INTEGRATION_DISABLED, INTEGRATION_MISCONFIGURED and, where the request is pushed, as the provider does.
 */
export async function openAuthorization(app: App, ticket: string, browser: string): Promise<string> {
  const [route] = await hot<{ tenant_id: string; id: string }>(app.pool, 'routeTicket', [hashText(ticket)]);
  if (!route) throw new LatchkeyError('AUTHORIZATION_STATE_INVALID');
  const tenantId = route.tenant_id;
  const call = systemCall(app, tenantId);
  const authorization = await read(call, (em) => em.findOne(Authorization, { tenantId, id: route.id }));
  if (!authorization?.ticketHash) throw new LatchkeyError('AUTHORIZATION_STATE_INVALID');
  const setup = await loadOAuthSetupOf(app, tenantId, authorization.integrationId);
  return sendOff(app, setup, authorization, browser);
}

/** The same for a link that GetCredentials answered, which makes an authorization of its own. */
export async function openReconnect(app: App, token: string, browser: string): Promise<string> {
  const link = readReconnectToken(app, token);
  if (!link) throw new LatchkeyError('AUTHORIZATION_STATE_INVALID');
  const { tenantId, connectionId, generation } = link;
  const call = systemCall(app, tenantId);
  const [tenant, connection, credential] = await read(call, async (em) => [
    await em.findOne(Tenant, { tenantId, state: 'ACTIVE' }),
    await em.findOne(Connection, { tenantId, id: connectionId }),
    await em.findOne(Credential, { tenantId, connectionId }),
  ]);
  const asThen =
    tenant && connection && connection.status !== 'REVOKED' && (credential?.generation ?? 0) === generation;
  if (!asThen || !connection.integrationId) throw new LatchkeyError('AUTHORIZATION_STATE_INVALID');
  const setup = await loadOAuthSetupOf(app, tenantId, connection.integrationId);
  const now = app.clock.now();
  const added = connection.requestedScopes;
  const authorization = await change(call, async (em) => {
    const after = { integration_id: setup.integration.id, by: 'reconnect_url' };
    audit(em, call, 'authorization_started', { type: 'connection', id: connectionId }, { after });
    return em.create(Authorization, {
      ...{ tenantId, id: newId('auth', now), integrationId: setup.integration.id, connectionId, method: 'CODE' },
      ...{ status: 'PENDING', reason: '', providerError: '', missingScopes: [], ownerByEmail: false },
      requestedScopes: scopesToRequest(setup.client.definition.scopes ?? {}, setup.integration, added),
      starter: { kind: 'system', id: '', userId: null, address: '' },
      ...{ allowAccountChange: false, returnUrl: '', loginHint: connection.providerAccountEmail },
      redirectUri: redirectUri(app, setup.provider, setup.integration),
      ...{ ticketHash: null, stateHash: null, browserHash: null, codeHash: null, sealed: null, device: null },
      ...{ claimTime: null, expireTime: new Date(now + AUTHORIZATION_MS) },
      ...{ createTime: new Date(now), updateTime: new Date(now), claimsDefault: false },
    });
  });
  return sendOff(app, setup, authorization, browser);
}

async function sendOff(app: App, setup: OAuthSetup, authorization: Authorization, browser: string): Promise<string> {
  const { tenantId, id, ticketHash, requestedScopes: scopes, loginHint } = authorization;
  refuseDisabled(setup.integration);
  // The ticket is used up before the provider is told of anything: of two browsers with one ticket, one goes on.
  await changeUnbound(app, authorization, { ticketHash: null, browserHash: hashText(browser) }, ticketHash);
  const prepared = prepareRequest(setup, { ...authorization, scopes, loginHint });
  const { url, state, verifier, nonce } = await prepared.catch(async (error: unknown) => {
    await fail(app, authorization, error);
    throw error;
  });
  const seal = await app.keyring.sealer(tenantId);
  const sealed = sealSecrets(seal, tenantId, id, { verifier, nonce, deviceCode: null });
  await changeUnbound(app, authorization, { stateHash: hashText(state), sealed }, null);
  return url;
}

/** Fails with AUTHORIZATION_STATE_INVALID where it is not pending any more, or its ticket was used meanwhile. */
async function changeUnbound(
  app: App,
  { tenantId, id }: Authorization,
  values: Partial<Pick<Authorization, 'ticketHash' | 'browserHash' | 'stateHash' | 'sealed'>>,
  ticketHash: Uint8Array | null,
): Promise<void> {
  const now = new Date(app.clock.now());
  const changed = await change(systemCall(app, tenantId), (em) =>
    em.nativeUpdate(
      Authorization,
      { tenantId, id, status: 'PENDING', stateHash: null, ticketHash, expireTime: { $gt: now } },
      { ...values, updateTime: now },
    ),
  );
  if (changed !== 1) throw new LatchkeyError('AUTHORIZATION_STATE_INVALID');
}
