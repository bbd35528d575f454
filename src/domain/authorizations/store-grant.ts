import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import { SecretText } from '../../base/secret-text.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import type { Em } from '../../db/transaction.ts';
import type { Authorization } from '../../model/authorization.ts';
import { Connection } from '../../model/connection.ts';
import { Credential } from '../../model/credential.ts';
import { Integration } from '../../model/integration.ts';
import type { OAuthClient } from '../../oauth/client.ts';
import type { Account } from '../../oauth/identify.ts';
import type { TokenSet } from '../../oauth/token-set.ts';
import { fillIn, isBaseUrl } from '../../providers/template.ts';
import { audit } from '../audit/audit.ts';
import type { App, Call, OAuthSetup, ReadyCredential } from '../call.ts';
import { announce } from '../change.ts';
import { claimDefault } from '../connections/claim-default.ts';
import { overHeaders } from '../connections/provider-rules.ts';
import { type CredentialInput, storeCredential } from '../connections/store-credential.ts';
import { connectionNotFound } from '../connections/visibility.ts';
import { event } from '../events/event.ts';
import { refuseDisabled } from '../integrations/find-integration.ts';
import { dueTimes } from '../tokens/due-times.ts';
import { grantedScopes, missingScopes } from '../tokens/granted-scopes.ts';
import { tokenSecrets } from '../tokens/token-secrets.ts';
import { ownerByEmail } from './owner-by-email.ts';

/** What an authorization yielded. */
export type Grant = {
  tokens: TokenSet;
  /** Null: the provider does not say whose it is. */
  account: Account | null;
  keptFromCallback: Record<string, string>;
  /** What the connection had; null: nothing. */
  before: ReadyCredential | null;
};

/**
 * Puts a grant into its connection, in place of the credential that it had, in the transaction that ends the authorization. Answers the missing scopes.
 * Fails with ACCOUNT_MISMATCH, USER_UNKNOWN, INTEGRATION_DISABLED, CONNECTION_NOT_FOUND; then the connection stays as it was.
 */
export async function storeGrant(
  em: Em,
  call: Call,
  seal: Sealer,
  authorization: Authorization,
  setup: OAuthSetup,
  grant: Grant,
): Promise<string[]> {
  const { tenantId, connectionId, requestedScopes } = authorization;
  const { integration, client } = setup;
  refuseDisabled(integration);
  const key = { tenantId, id: connectionId };
  const connection = await em.findOne(Connection, key, { lockMode: LockMode.PESSIMISTIC_WRITE });
  if (!connection) throw connectionNotFound(connectionId);
  refuseRevokedSince(connection, authorization);
  const before = connection.summary();
  const same = isSameGrant(connection, setup, grant);
  takeAccount(connection, authorization, grant);
  if (authorization.ownerByEmail) connection.ownerUserId = await ownerByEmail(em, call, integration, grant.account);
  if (connection.isDefault || authorization.claimsDefault) await claimDefault(em, call, connection, 'oauth2');
  const { tokens } = grant;
  const definition = client.definition.scopes ?? {};
  connection.isDefault ||= authorization.claimsDefault;
  connection.kind = 'oauth2';
  connection.provider = integration.provider;
  connection.integrationId = integration.id;
  connection.status = 'ACTIVE';
  connection.statusReason = '';
  connection.requestedScopes = requestedScopes;
  connection.grantedScopes = grantedScopes(definition, requestedScopes, tokens.scopes);
  const wanted = [...requestedScopes, ...integration.requiredScopes];
  connection.missingScopes = missingScopes(wanted, connection.grantedScopes);
  const derived = grant.before?.fields.base_url;
  if (!connection.baseUrl || connection.baseUrl === derived) connection.baseUrl = baseUrlOf(call.app, setup, grant);
  connection.defaultHeaders = overHeaders(setup.provider.definition.apiHeaders ?? {}, connection.defaultHeaders);
  connection.changed(new Date(call.app.clock.now()));
  await em.flush();
  const failing = { tenantId, connectionId, failingSince: { $ne: null } };
  const wasFailing = (await em.count(Credential, failing)) > 0;
  const kept = same ? (grant.before?.secrets.refresh_token ?? null) : null;
  const credential = credentialOf(call.app.clock.now(), client, connection, grant, kept);
  await storeCredential(em, call, seal, connection, credential);
  // The client is as it should be, whatever was said of it before.
  const refused = { tenantId, id: integration.id, lastError: { $ne: '' } };
  const cleared = await em.nativeUpdate(Integration, refused, { lastError: '', lastErrorTime: null });
  if (cleared > 0) announce(em, { kind: 'integration', tenantId, id: integration.id });
  const resource = { type: 'connection', id: connectionId };
  const after = { ...connection.summary(), missing_scopes: connection.missingScopes };
  audit(em, call, 'connection_authorized', resource, { before, after });
  event(em, call, 'connection.authorized', connection.aggregate(), after);
  if (before.status === 'REAUTHORIZATION_REQUIRED' || wasFailing)
    event(em, call, 'connection.recovered', connection.aggregate(), after);
  if (before.status !== 'PENDING' && !sameScopes(before.granted_scopes, connection.grantedScopes))
    event(em, call, 'connection.scopes_changed', connection.aggregate(), {
      ...{ provider: connection.provider, provider_account_id: connection.providerAccountId },
      ...{ scopes: connection.grantedScopes, scopes_before: before.granted_scopes },
    });
  announce(em, { kind: 'connection', tenantId, id: connectionId });
  return connection.missingScopes;
}

function sameScopes(one: string[], other: string[]): boolean {
  return one.length === other.length && one.every((scope) => other.includes(scope));
}

/** Who revoked a connection meanwhile did not mean it to come back by an attempt from before. */
function refuseRevokedSince({ status, updateTime }: Connection, { createTime }: Authorization): void {
  if (status === 'REVOKED' && updateTime > createTime)
    throw new LatchkeyError('AUTHORIZATION_FAILED', { metadata: { provider_error: 'connection_revoked' } });
}

/** Whether the refresh token that is there belongs to the same account and client: an answer without one means that it stays (RFC 6749, section 6). */
function isSameGrant({ providerAccountId, status }: Connection, { integration }: OAuthSetup, grant: Grant): boolean {
  const sameAccount = providerAccountId !== '' && grant.account?.id === providerAccountId;
  return sameAccount && status === 'ACTIVE' && grant.before?.integrationId === integration.id;
}

/** As the contract bounds a connection's base URL. */
const LONGEST_URL = 500;

/** Reconnecting may not slip another account under who uses the connection. */
function takeAccount(connection: Connection, { allowAccountChange }: Authorization, grant: Grant): void {
  const { account } = grant;
  const known = connection.providerAccountId;
  if (known && account?.id !== known && !allowAccountChange)
    throw new LatchkeyError('ACCOUNT_MISMATCH', { metadata: { connection_id: connection.id } });
  if (account) {
    connection.providerAccountId = account.id;
    connection.providerAccountEmail = account.email;
  }
  const same = known === connection.providerAccountId;
  const kept = keptOf(grant);
  connection.providerAccountMetadata = same ? { ...connection.providerAccountMetadata, ...kept } : kept;
}

/** What the answers say comes over what the browser brought. */
function keptOf({ keptFromCallback, tokens, account }: Grant): Record<string, string> {
  return { ...keptFromCallback, ...tokens.kept, ...account?.kept };
}

function baseUrlOf({ config }: App, { provider, parameters }: OAuthSetup, { tokens }: Grant): string {
  const { apiBaseUrl, oauth } = provider.definition;
  const answered = tokens.kept[oauth?.answer?.baseUrlFrom ?? ''];
  const secure = !config.production || answered?.startsWith('https:');
  if (answered && secure && answered.length <= LONGEST_URL && isBaseUrl(answered)) return answered;
  return apiBaseUrl ? fillIn(apiBaseUrl, parameters) : '';
}

function credentialOf(
  now: number,
  client: OAuthClient,
  connection: Connection,
  grant: Grant,
  keptRefreshToken: string | null,
): CredentialInput {
  const { tokens } = grant;
  const after = (seconds: number | null) => (seconds === null ? null : new Date(now + seconds * 1000));
  const refreshToken = tokens.refreshToken ?? keptRefreshToken;
  const secrets = Object.entries(tokenSecrets({ ...tokens, refreshToken }));
  const scopes = connection.grantedScopes;
  const kept = keptOf(grant);
  return {
    kind: 'oauth2',
    // Written here alone: what is revoked later is revoked by what the provider said, not by what a caller wrote.
    fields: {
      ...{ scopes, requested_scopes: connection.requestedScopes, refreshable: refreshToken !== null },
      ...{ kept, base_url: connection.baseUrl },
    },
    secrets: Object.fromEntries(secrets.map(([name, value]) => [name, { value: new SecretText(value) }])),
    expireTime: after(tokens.expiresInS),
    refreshExpireTime: refreshToken ? after(tokens.refreshExpiresInS) : null,
    lifetimeS: tokens.expiresInS,
    ...(refreshToken ? dueTimes(client, connection.id, tokens, now) : {}),
    scopes,
  };
}
