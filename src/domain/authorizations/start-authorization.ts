import { fieldInvalid } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import { enqueue } from '../../db/jobs.ts';
import type { Em } from '../../db/transaction.ts';
import { Authorization, type AuthorizationMethod, type DevicePrompt } from '../../model/authorization.ts';
import type { Connection } from '../../model/connection.ts';
import type { Integration } from '../../model/integration.ts';
import { authorizeDevice, type DeviceAuthorization } from '../../oauth/device.ts';
import { OAuthError } from '../../oauth/oauth-error.ts';
import { refusesClient } from '../../oauth/refuses-client.ts';
import { audit } from '../audit/audit.ts';
import type { Call, OAuthSetup } from '../call.ts';
import { change } from '../change.ts';
import { lockConnection } from '../connections/find-connection.ts';
import { findIntegration, findIntegrationOf, refuseDisabled } from '../integrations/find-integration.ts';
import { noteClientError } from '../integrations/note-client-error.ts';
import { oauthFailure } from '../integrations/oauth-failure.ts';
import { loadOAuthSetup, misconfigured } from '../integrations/oauth-setup.ts';
import { redirectUri } from '../integrations/redirect-uri.ts';
import { type AuthorizationView, viewOf } from './authorization-view.ts';
import { type NewPendingConnection, pendingConnection } from './pending-connection.ts';
import { prepareRequest } from './prepare-request.ts';
import { scopesToRequest } from './scopes.ts';
import { hashText, randomText, sealSecrets } from './secrets-of.ts';

export type NewAuthorization = {
  /** Empty: that of the connection, or the newest of `provider`. */
  integrationId: string;
  provider: string;
  target: { connectionId: string } | { connection: NewPendingConnection };
  scopes: readonly string[];
  returnUrl: string;
  loginHint: string;
  method: AuthorizationMethod;
  allowAccountChange: boolean;
  /** Of an application that completes the authorization itself; empty: ours. */
  redirectUri: string;
};

export type StartedAuthorization = AuthorizationView & { authorizationUrl: string };

/** How long a person has to decide. */
export const AUTHORIZATION_MS = 600_000;

/**
 * Begins an authorization. Fails with INTEGRATION_NOT_FOUND, INTEGRATION_DISABLED, INTEGRATION_MISCONFIGURED, CONNECTION_NOT_FOUND, CONNECTION_NAME_TAKEN,
 * FIELD_INVALID, USER_NOT_FOUND, PERMISSION_MISSING and, where the provider is asked, as it does.
 */
export async function startAuthorization(call: Call, input: NewAuthorization): Promise<StartedAuthorization> {
  const { app, principal } = call;
  const { tenantId } = principal;
  const setup = await loadOAuthSetup(app, tenantId, (em) => integrationOf(em, call, input));
  refuseDisabled(setup.integration);
  checkUrls(input, setup);
  const scopes = scopesToRequest(setup.client.definition.scopes ?? {}, setup.integration, input.scopes);
  const id = newId('auth', app.clock.now());
  const seal = await app.keyring.sealer(tenantId);
  const began =
    input.method === 'DEVICE'
      ? await beginDevice(call, setup, scopes)
      : await beginCode(setup, input, redirectUri(app, setup.provider, setup.integration), scopes);
  return change(call, async (em) => {
    const connection = await connectionOf(em, call, setup.integration, input);
    const now = app.clock.now();
    const authorization = em.create(Authorization, {
      ...{ tenantId, id, integrationId: setup.integration.id, connectionId: connection.id, method: input.method },
      ...{ status: 'PENDING', reason: '', providerError: '', requestedScopes: scopes, missingScopes: [] },
      starter: { kind: principal.kind, id: principal.id, userId: principal.userId, address: call.address },
      ownerByEmail: 'connection' in input.target && input.target.connection.ownerByEmail,
      claimsDefault: 'connection' in input.target && input.target.connection.isDefault,
      ...{ allowAccountChange: input.allowAccountChange, returnUrl: input.returnUrl, loginHint: input.loginHint },
      ...{ redirectUri: began.redirectUri, device: began.device, claimTime: null, browserHash: null, codeHash: null },
      ticketHash: began.ticket ? hashText(began.ticket) : null,
      stateHash: began.state ? hashText(began.state) : null,
      sealed: began.secrets && sealSecrets(seal, tenantId, id, began.secrets),
      expireTime: new Date(now + began.livesMs),
      ...{ createTime: new Date(now), updateTime: new Date(now) },
    });
    await em.flush();
    if (began.device) {
      const runAt = new Date(now + began.device.intervalS * 1000);
      await enqueue(em, 'poll_device', { tenantId, id }, { runAt, key: `poll_device ${tenantId} ${id}` });
    }
    const after = { authorization_id: id, integration_id: setup.integration.id, scopes };
    audit(em, call, 'authorization_started', { type: 'connection', id: connection.id }, { after });
    const ours = began.ticket ? `${app.publicUrl}/oauth/start?ticket=${began.ticket}` : '';
    return { ...viewOf(authorization, now), authorizationUrl: began.url || ours };
  });
}

/** What an authorization of either method begins with. */
type Beginning = {
  redirectUri: string;
  /** Of our own start page. */
  ticket: string;
  /** Where an application hosts the redirect URI: bound to who starts, for there is no cookie. */
  state: string;
  url: string;
  secrets: { verifier: string | null; nonce: string | null; deviceCode: string | null } | null;
  device: DevicePrompt | null;
  livesMs: number;
};

async function beginCode(
  setup: OAuthSetup,
  { redirectUri: own, loginHint }: NewAuthorization,
  ours: string,
  scopes: string[],
): Promise<Beginning> {
  const nothing = { ticket: '', state: '', url: '', secrets: null, device: null, livesMs: AUTHORIZATION_MS };
  if (!setup.client.definition.authorizationUrl) throw misconfigured(setup.integration.id, 'code_flow_not_supported');
  if (!own) return { ...nothing, redirectUri: ours, ticket: randomText() };
  const { url, state, verifier, nonce } = await prepareRequest(setup, { redirectUri: own, scopes, loginHint });
  return { ...nothing, redirectUri: own, url, state, secrets: { verifier, nonce, deviceCode: null } };
}

async function beginDevice(call: Call, setup: OAuthSetup, scopes: string[]): Promise<Beginning> {
  const { integration, client } = setup;
  if (!client.definition.deviceAuthorizationUrl) throw misconfigured(integration.id, 'device_flow_not_supported');
  let device: DeviceAuthorization;
  try {
    device = await authorizeDevice(client, scopes);
  } catch (error) {
    if (error instanceof OAuthError && refusesClient(error)) await noteClientError(call, integration.id, error.code);
    throw oauthFailure(error, integration.id);
  }
  const { userCode, verificationUri, verificationUriComplete, intervalS, expiresInS } = device;
  return {
    ...{ redirectUri: '', ticket: '', state: '', url: '', livesMs: expiresInS * 1000 },
    secrets: { verifier: null, nonce: null, deviceCode: device.deviceCode },
    device: { userCode, verificationUri, verificationUriComplete, intervalS },
  };
}

async function integrationOf(em: Em, call: Call, input: NewAuthorization): Promise<Integration> {
  const { tenantId } = call.principal;
  if (input.integrationId) return findIntegration(em, tenantId, input.integrationId);
  if ('connectionId' in input.target) {
    const connection = await lockConnection(em, call, input.target.connectionId, 'connection:update');
    if (connection.integrationId) return findIntegration(em, tenantId, connection.integrationId);
    if (!input.provider && connection.provider) return findIntegrationOf(em, tenantId, connection.provider);
  }
  if (!input.provider) throw fieldInvalid('integration_id', 'is required, or provider');
  return findIntegrationOf(em, tenantId, input.provider);
}

async function connectionOf(
  em: Em,
  call: Call,
  integration: Integration,
  { target }: NewAuthorization,
): Promise<Connection> {
  if ('connection' in target) return pendingConnection(em, call, integration, target.connection);
  const connection = await lockConnection(em, call, target.connectionId, 'connection:update');
  if (connection.provider && connection.provider !== integration.provider)
    throw fieldInvalid('integration_id', `is of another provider than the connection, ${connection.provider}`);
  return connection;
}

function checkUrls({ returnUrl, redirectUri: own, method }: NewAuthorization, { integration }: OAuthSetup): void {
  refuseForeignOrigin(integration, 'return_url', returnUrl);
  refuseForeignOrigin(integration, 'redirect_uri', own);
  if (own && returnUrl) throw fieldInvalid('return_url', 'goes without redirect_uri');
  if (method === 'DEVICE' && (own || returnUrl)) throw fieldInvalid('method', 'DEVICE comes back to no address');
}

/** By exact origin, parsed: text that only looks like one is none. */
function refuseForeignOrigin({ returnUrls }: Integration, field: string, url: string): void {
  if (!url) return;
  const parsed = URL.parse(url);
  if (!parsed || parsed.username || parsed.password || !returnUrls.includes(parsed.origin))
    throw fieldInvalid(field, 'is under none of the return_urls of the integration');
}
