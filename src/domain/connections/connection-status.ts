import type { Reason } from '../../base/reasons.ts';
import type { ConnectionView } from './connection-view.ts';

export const CONNECTION_STATUSES = ['ACTIVE', 'DISABLED', 'EXPIRED', 'MISCONFIGURED'] as const;
export type ConnectionStatus = (typeof CONNECTION_STATUSES)[number];

/** A status, why, and what to do. */
export type StatusReport = { status: ConnectionStatus; reason: Reason | ''; advice: string };

/** Whether a connection can be used. What stops its use first is said first. */
export function statusOf({ connection, missingSecrets, expireTime }: ConnectionView, now: number): StatusReport {
  if (!connection.enabled) {
    return {
      status: 'DISABLED',
      reason: 'CONNECTION_DISABLED',
      advice: 'Call EnableConnection to let it be used again.',
    };
  }
  if (missingSecrets.length > 0) {
    const advice = `Create the secret ${missingSecrets.join(', ')}, or give the connection a new credential with UpdateConnection.`;
    return { status: 'MISCONFIGURED', reason: 'SECRET_MISSING', advice };
  }
  if (expireTime && expireTime.getTime() <= now) {
    return {
      status: 'EXPIRED',
      reason: 'CREDENTIAL_EXPIRED',
      advice: 'Give it a new credential with UpdateConnection.',
    };
  }
  return { status: 'ACTIVE', reason: '', advice: '' };
}

const DANGLING =
  'exists (select from latchkey.credential_secret_ref r where r.tenant_id = connection.tenant_id and r.connection_id = connection.id and r.secret_id is null)';
const EXPIRED =
  'exists (select from latchkey.credential k where k.tenant_id = connection.tenant_id and k.connection_id = connection.id and k.expire_time <= now())';

/** The same decision as a condition on rows. */
export const STATUS_CONDITIONS: Record<ConnectionStatus, string> = {
  DISABLED: 'not enabled',
  MISCONFIGURED: `enabled and ${DANGLING}`,
  EXPIRED: `enabled and not ${DANGLING} and ${EXPIRED}`,
  ACTIVE: `enabled and not ${DANGLING} and not ${EXPIRED}`,
};
