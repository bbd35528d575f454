import { LatchkeyError } from '../../base/error.ts';
import type { App, ReadyCredential } from '../call.ts';
import { reconnectUrl } from './reconnect-url.ts';

const CAUSES: Record<string, string> = { PENDING: 'pending', REVOKED: 'revoked', REAUTHORIZATION_REQUIRED: 'refused' };

/** Refuses a credential that may not or cannot be handed out now. What stops its use first is said first. */
export function refuseUnlessUsable(app: App, credential: ReadyCredential, minValidForMs: number | null): void {
  const { connectionId, enabled, integrationId, integrationEnabled, status, missing, kind, expireTime } = credential;
  if (!enabled) throw new LatchkeyError('CONNECTION_DISABLED', { metadata: { connection_id: connectionId } });
  if (!integrationEnabled && integrationId)
    throw new LatchkeyError('INTEGRATION_DISABLED', { metadata: { integration_id: integrationId } });
  if (status !== 'ACTIVE') throw reauthorizationRequired(app, credential, CAUSES[status]!);
  if (missing[0])
    throw new LatchkeyError('SECRET_MISSING', { metadata: { name: missing[0].name, field: missing[0].field } });
  refuseMissingScopes(app, credential);
  // What can be renewed does not end by its time.
  if (!expireTime || isRefreshable(credential)) return;
  const leftMs = expireTime.getTime() - app.clock.now();
  if (leftMs <= 0 && kind === 'oauth2') throw reauthorizationRequired(app, credential, 'expired');
  if (leftMs <= 0) {
    const metadata = { connection_id: connectionId, expire_time: expireTime.toISOString() };
    throw new LatchkeyError('CREDENTIAL_EXPIRED', { metadata });
  }
  if (minValidForMs !== null && leftMs < minValidForMs) throw lifetimeTooShort(connectionId, leftMs);
}

/** Whether its tokens can be renewed without a person. */
export function isRefreshable({ kind, fields, integrationId }: ReadyCredential): boolean {
  return kind === 'oauth2' && fields.refreshable === true && integrationId !== null;
}

/** A token that lives, but not for as long as was asked. */
export function lifetimeTooShort(connectionId: string, leftMs: number): LatchkeyError {
  const metadata = { connection_id: connectionId, valid_for_s: String(Math.floor(leftMs / 1000)) };
  return new LatchkeyError('TOKEN_LIFETIME_TOO_SHORT', { metadata });
}

function refuseMissingScopes(app: App, credential: ReadyCredential): void {
  const { missingRequiredScopes, connectionId } = credential;
  if (missingRequiredScopes.length === 0) return;
  const scopes = missingRequiredScopes.join(' ');
  const metadata = { connection_id: connectionId, scopes, reconnect_url: reconnectUrl(app, credential) };
  throw new LatchkeyError('SCOPE_MISSING', { metadata });
}

function reauthorizationRequired(app: App, credential: ReadyCredential, cause: string): LatchkeyError {
  const url = reconnectUrl(app, credential);
  const metadata = { connection_id: credential.connectionId, cause, ...(url ? { reconnect_url: url } : {}) };
  return new LatchkeyError('REAUTHORIZATION_REQUIRED', { metadata });
}
