import { LatchkeyError } from '../../base/error.ts';
import { IntegrityError } from '../../crypto/sealed-value.ts';
import { audit, auditRead } from '../audit/audit.ts';
import type { Call, ReadyCredential } from '../call.ts';
import { change } from '../change.ts';
import { loadCredential } from './load-credential.ts';
import { connectionNotFound, refuseUnlessAllowed } from './visibility.ts';

/**
 * Answers a connection's credential, open. What it answers is shared: it must not be changed.
 * Fails with CONNECTION_NOT_FOUND, PERMISSION_MISSING, CONNECTION_DISABLED, CREDENTIAL_EXPIRED, SECRET_MISSING, AUDIT_UNAVAILABLE.
 */
export function getCredentials(call: Call, connectionId: string): ReadyCredential | Promise<ReadyCredential> {
  const key = `${call.principal.tenantId} ${connectionId}`;
  const known = call.app.caches.credentials.peek(key);
  return known ? handOut(call, connectionId, known) : loadAndHandOut(call, key, connectionId);
}

async function loadAndHandOut(call: Call, key: string, connectionId: string): Promise<ReadyCredential> {
  return handOut(call, connectionId, await load(call, key, connectionId));
}

/** At once, unless the audit entry must be written first. */
function handOut(
  call: Call,
  connectionId: string,
  credential: ReadyCredential | null,
): ReadyCredential | Promise<ReadyCredential> {
  const { app, principal } = call;
  if (!credential) throw connectionNotFound(connectionId);
  refuseUnlessAllowed(principal, 'credential:read', connectionId, credential);
  refuseUnlessUsable(credential, app.clock.now());
  const recorded = auditRead(call, 'credentials_read', { type: 'connection', id: connectionId });
  const used = () => {
    app.readAudit.used(principal.tenantId, connectionId);
    return credential;
  };
  return recorded ? recorded.then(used) : used();
}

function refuseUnlessUsable({ connectionId, enabled, missing, expireTime }: ReadyCredential, now: number): void {
  if (!enabled) throw new LatchkeyError('CONNECTION_DISABLED', { metadata: { connection_id: connectionId } });
  if (missing[0])
    throw new LatchkeyError('SECRET_MISSING', { metadata: { name: missing[0].name, field: missing[0].field } });
  if (expireTime && expireTime.getTime() <= now) {
    const metadata = { connection_id: connectionId, expire_time: expireTime.toISOString() };
    throw new LatchkeyError('CREDENTIAL_EXPIRED', { metadata });
  }
}

async function load(call: Call, key: string, connectionId: string): Promise<ReadyCredential | null> {
  const { app, principal } = call;
  try {
    return await app.caches.credentials.get(key, () => loadCredential(app, principal.tenantId, connectionId));
  } catch (error) {
    if (!(error instanceof IntegrityError)) throw error;
    app.metrics.integrityFailures.inc();
    app.log.error({ err: error, requestId: call.requestId, connectionId }, 'a stored credential does not open');
    await change(call, async (em) => audit(em, call, 'integrity_failure', { type: 'connection', id: connectionId }));
    throw new LatchkeyError('INTERNAL', { cause: error });
  }
}
