import { LatchkeyError } from '../../base/error.ts';
import { IntegrityError } from '../../crypto/sealed-value.ts';
import { Connection } from '../../model/connection.ts';
import type { Permission } from '../access/permissions.ts';
import { audit, auditRead } from '../audit/audit.ts';
import type { Call, ReadyCredential } from '../call.ts';
import { change } from '../change.ts';
import { loadCredential } from '../connections/load-credential.ts';
import { connectionNotFound, refuseUnlessAllowed } from '../connections/visibility.ts';
import { event } from '../events/event.ts';
import { fetchClientCredentials } from './fetch-client-credentials.ts';
import { fetchLogin } from './fetch-login.ts';
import { lifetimeTooShort, refuseUnlessUsable } from './refuse-unless-usable.ts';
import { renewIfDue } from './renew-if-due.ts';

/** What a credential is asked for: what that takes, and what the audit log calls it. */
export type CredentialUse = { permission: Permission; action: string };

const READ: CredentialUse = { permission: 'credential:read', action: 'credentials_read' };

/**
 * Answers a connection's credential, open. What it answers is shared: it must not be changed. Only a `minValidForMs` that is given can be refused as too long.
 * Fails with CONNECTION_NOT_FOUND, PERMISSION_MISSING, CONNECTION_DISABLED, INTEGRATION_DISABLED, REAUTHORIZATION_REQUIRED, SECRET_MISSING, SCOPE_MISSING,
 * CREDENTIAL_EXPIRED, TOKEN_LIFETIME_TOO_SHORT, AUDIT_UNAVAILABLE and, where a token is fetched, as the provider does.
 */
export function getCredentials(
  call: Call,
  connectionId: string,
  minValidForMs: number | null,
  use = READ,
): ReadyCredential | Promise<ReadyCredential> {
  const key = `${call.principal.tenantId} ${connectionId}`;
  const known = call.app.caches.credentials.peek(key);
  return known
    ? handOut(call, connectionId, known, minValidForMs, use)
    : loadAndHandOut(call, key, connectionId, minValidForMs, use);
}

async function loadAndHandOut(
  call: Call,
  key: string,
  connectionId: string,
  minValidForMs: number | null,
  use: CredentialUse,
): Promise<ReadyCredential> {
  return handOut(call, connectionId, await load(call, key, connectionId), minValidForMs, use);
}

/** At once, unless a token must be fetched or the audit entry be written first. */
function handOut(
  call: Call,
  connectionId: string,
  credential: ReadyCredential | null,
  minValidForMs: number | null,
  use: CredentialUse,
): ReadyCredential | Promise<ReadyCredential> {
  const { app, principal } = call;
  if (!credential) throw connectionNotFound(connectionId);
  refuseUnlessAllowed(principal, use.permission, connectionId, credential);
  refuseUnlessUsable(app, credential, minValidForMs);
  const renewing = renewIfDue(call, credential, minValidForMs, () =>
    load(call, `${principal.tenantId} ${connectionId}`, connectionId),
  );
  if (renewing) return renewing.then((fresh) => recordedHandOut(call, fresh, use));
  const fetching = fetchToken(call, credential, minValidForMs ?? 0);
  if (fetching) return fetching.then((token) => recordedHandOut(call, longEnough(call, token, minValidForMs), use));
  return recordedHandOut(call, credential, use);
}

function recordedHandOut(
  call: Call,
  credential: ReadyCredential,
  { action }: CredentialUse,
): ReadyCredential | Promise<ReadyCredential> {
  const { tenantId, connectionId } = credential;
  const recorded = auditRead(call, action, { type: 'connection', id: connectionId });
  const used = () => {
    call.app.readAudit.used(tenantId, connectionId);
    return credential;
  };
  return recorded ? recorded.then(used) : used();
}

/**
 * A connection's credential as it is stored, usable or not: for who goes by the connection and brings a credential of their own.
 * Fails with CONNECTION_NOT_FOUND, PERMISSION_MISSING, CONNECTION_DISABLED, AUDIT_UNAVAILABLE.
 */
export async function storedCredential(
  call: Call,
  connectionId: string,
  { permission, action }: CredentialUse,
): Promise<ReadyCredential> {
  const credential = await load(call, `${call.principal.tenantId} ${connectionId}`, connectionId);
  if (!credential) throw connectionNotFound(connectionId);
  refuseUnlessAllowed(call.principal, permission, connectionId, credential);
  if (!credential.enabled)
    throw new LatchkeyError('CONNECTION_DISABLED', { metadata: { connection_id: connectionId } });
  await auditRead(call, action, { type: 'connection', id: connectionId });
  return credential;
}

/** For the kinds whose token is fetched when it is used. */
function fetchToken(call: Call, credential: ReadyCredential, minLeftMs: number): Promise<ReadyCredential> | null {
  if (credential.kind === 'client_credentials') return fetchClientCredentials(call, credential, minLeftMs);
  return credential.kind === 'login' ? fetchLogin(call.app, credential, minLeftMs) : null;
}

function longEnough({ app }: Call, token: ReadyCredential, minValidForMs: number | null): ReadyCredential {
  const leftMs = token.expireTime ? token.expireTime.getTime() - app.clock.now() : Number.POSITIVE_INFINITY;
  if (minValidForMs !== null && leftMs < minValidForMs) throw lifetimeTooShort(token.connectionId, leftMs);
  return token;
}

async function load(call: Call, key: string, connectionId: string): Promise<ReadyCredential | null> {
  const { app, principal } = call;
  try {
    return await app.caches.credentials.get(key, () => loadCredential(app, principal.tenantId, connectionId));
  } catch (error) {
    if (!(error instanceof IntegrityError)) throw error;
    app.metrics.integrityFailures.inc();
    app.log.error({ err: error, requestId: call.requestId, connectionId }, 'a stored credential does not open');
    await change(call, async (em) => {
      audit(em, call, 'integrity_failure', { type: 'connection', id: connectionId });
      const connection = await em.findOneOrFail(Connection, { tenantId: principal.tenantId, id: connectionId });
      event(em, call, 'connection.integrity_failed', connection.aggregate(), { provider: connection.provider });
    });
    throw new LatchkeyError('INTERNAL', { cause: error });
  }
}
