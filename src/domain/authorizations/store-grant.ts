import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import { SecretText } from '../../base/secret-text.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import type { Em } from '../../db/transaction.ts';
import type { Authorization } from '../../model/authorization.ts';
import { Connection } from '../../model/connection.ts';
import type { Account } from '../../oauth/identify.ts';
import type { TokenSet } from '../../oauth/token-set.ts';
import { fillIn } from '../../providers/template.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce } from '../change.ts';
import { type CredentialInput, storeCredential } from '../connections/store-credential.ts';
import { connectionNotFound } from '../connections/visibility.ts';
import { event } from '../events/event.ts';
import { refuseDisabled } from '../integrations/find-integration.ts';
import type { OAuthSetup } from '../integrations/oauth-setup.ts';
import { ownerByEmail } from './owner-by-email.ts';
import { missingScopes } from './scopes.ts';

/** What an authorization yielded. */
export type Grant = { tokens: TokenSet; account: Account | null; keptFromCallback: Record<string, string> };

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
  const before = connection.summary();
  takeAccount(connection, authorization, grant);
  if (authorization.ownerByEmail && grant.account)
    connection.ownerUserId = await ownerByEmail(em, call, integration, grant.account);
  if (authorization.ownerByEmail && !grant.account) throw new LatchkeyError('USER_UNKNOWN');
  const { tokens } = grant;
  connection.kind = 'oauth2';
  connection.provider = integration.provider;
  connection.integrationId = integration.id;
  connection.status = 'ACTIVE';
  connection.statusReason = '';
  connection.requestedScopes = requestedScopes;
  connection.grantedScopes = tokens.scopes ?? requestedScopes;
  connection.missingScopes = missingScopes(
    client.definition.scopes ?? {},
    { requested: requestedScopes, required: integration.requiredScopes },
    tokens.scopes,
  );
  if (!connection.baseUrl) connection.baseUrl = baseUrlOf(setup, connection);
  connection.changed(new Date(call.app.clock.now()));
  await em.flush();
  await storeCredential(em, call, seal, connection, credentialOf(call.app.clock.now(), connection, tokens));
  const resource = { type: 'connection', id: connectionId };
  const after = { ...connection.summary(), missing_scopes: connection.missingScopes };
  audit(em, call, 'connection_authorized', resource, { before, after });
  event(em, call, 'connection.authorized', { ...resource, generation: connection.version }, after);
  announce(em, { kind: 'connection', tenantId, id: connectionId });
  return connection.missingScopes;
}

/** Reconnecting may not slip another account under who uses the connection. */
function takeAccount(connection: Connection, { allowAccountChange }: Authorization, grant: Grant): void {
  const { account, keptFromCallback, tokens } = grant;
  const known = connection.providerAccountId;
  if (known && account?.id !== known && !allowAccountChange)
    throw new LatchkeyError('ACCOUNT_MISMATCH', { metadata: { connection_id: connection.id } });
  if (account) {
    connection.providerAccountId = account.id;
    connection.providerAccountEmail = account.email;
  }
  const kept = { ...keptFromCallback, ...tokens.kept, ...account?.kept };
  const same = known === connection.providerAccountId;
  connection.providerAccountMetadata = same ? { ...connection.providerAccountMetadata, ...kept } : kept;
}

function baseUrlOf({ provider, parameters }: OAuthSetup, { providerAccountMetadata }: Connection): string {
  const { apiBaseUrl, oauth } = provider.definition;
  const answered = oauth?.answer?.baseUrlFrom && providerAccountMetadata[oauth.answer.baseUrlFrom];
  if (typeof answered === 'string' && /^https?:\/\/[^\s@]+$/.test(answered)) return answered;
  return apiBaseUrl ? fillIn(apiBaseUrl, parameters) : '';
}

function credentialOf(now: number, connection: Connection, tokens: TokenSet): CredentialInput {
  const after = (seconds: number | null) => (seconds === null ? null : new Date(now + seconds * 1000));
  const secrets: [string, string | null][] = [
    ['access_token', tokens.accessToken],
    ['refresh_token', tokens.refreshToken],
    ...tokens.further.flatMap(({ name, accessToken, refreshToken }): [string, string | null][] => [
      [`further.${name}.access_token`, accessToken],
      [`further.${name}.refresh_token`, refreshToken],
    ]),
  ];
  const present = secrets.flatMap(([name, value]) => (value ? [[name, { value: new SecretText(value) }]] : []));
  return {
    kind: 'oauth2',
    fields: { scopes: connection.grantedScopes, refreshable: tokens.refreshToken !== null },
    secrets: Object.fromEntries(present) as CredentialInput['secrets'],
    expireTime: after(tokens.expiresInS),
    refreshExpireTime: tokens.refreshToken ? after(tokens.refreshExpiresInS) : null,
    lifetimeS: tokens.expiresInS,
    scopes: connection.grantedScopes,
  };
}
