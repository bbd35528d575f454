import type { Reason } from '../../base/reasons.ts';
import type { ConnectionView } from './connection-view.ts';

export const CONNECTION_STATUSES = [
  'DISABLED',
  'PENDING',
  'REVOKED',
  'REAUTHORIZATION_REQUIRED',
  'MISCONFIGURED',
  'EXPIRED',
  'REFRESH_FAILING',
  'EXPIRING',
  'ACTIVE',
] as const;
export type ConnectionStatus = (typeof CONNECTION_STATUSES)[number];

/** A status, why, and what to do. */
export type StatusReport = { status: ConnectionStatus; reason: Reason | ''; advice: string };

/** How long before its end a credential that nothing renews is called EXPIRING. */
const EXPIRING_MS = 7 * 24 * 3_600_000;

const AUTHORIZE =
  'Call StartAuthorization with the id of the connection, and send a person to the URL that it answers.';

/** Whether a connection can be used. What stops its use first is said first. */
export function statusOf(view: ConnectionView, now: number): StatusReport {
  const { connection, missingSecrets, expireTime, integration, refreshable, refreshFailure, refreshExpireTime } = view;
  if (!connection.enabled) {
    const advice = 'Call EnableConnection to let it be used again.';
    return { status: 'DISABLED', reason: 'CONNECTION_DISABLED', advice };
  }
  if (integration && !integration.enabled) {
    const advice = 'Call EnableIntegration to let its connections be used again.';
    return { status: 'DISABLED', reason: 'INTEGRATION_DISABLED', advice };
  }
  if (connection.status !== 'ACTIVE')
    return { status: connection.status, reason: 'REAUTHORIZATION_REQUIRED', advice: AUTHORIZE };
  if (missingSecrets.length > 0) {
    const advice = `Create the secret ${missingSecrets.join(', ')}, or give the connection a new credential with UpdateConnection.`;
    return { status: 'MISCONFIGURED', reason: 'SECRET_MISSING', advice };
  }
  const lacking = missingRequired(view);
  if (lacking.length > 0) {
    const advice = `${AUTHORIZE} The person must grant ${lacking.join(' ')}.`;
    return { status: 'MISCONFIGURED', reason: 'SCOPE_MISSING', advice };
  }
  const renewed = connection.integrationId !== null && refreshable;
  const ended = expireTime !== null && expireTime.getTime() <= now && !renewed;
  if (ended && connection.kind === 'oauth2')
    return { status: 'REAUTHORIZATION_REQUIRED', reason: 'REAUTHORIZATION_REQUIRED', advice: AUTHORIZE };
  if (ended) {
    const advice = 'Give it a new credential with UpdateConnection.';
    return { status: 'EXPIRED', reason: 'CREDENTIAL_EXPIRED', advice };
  }
  if (integration?.lastError) {
    const advice = `The provider refused the integration's client (${integration.lastError}): check it, and call SetIntegrationCredentials.`;
    return { status: 'MISCONFIGURED', reason: '', advice };
  }
  if (refreshFailure) {
    const advice = `Renewing it has failed since ${refreshFailure.since.toISOString()} (${refreshFailure.code}); it is tried again by itself.`;
    return { status: 'REFRESH_FAILING', reason: '', advice };
  }
  const end = renewed ? refreshExpireTime : expireTime;
  if (end && end.getTime() <= now + EXPIRING_MS) {
    const what = renewed ? AUTHORIZE : 'Nothing renews it.';
    return { status: 'EXPIRING', reason: '', advice: `It ends at ${end.toISOString()}. ${what}` };
  }
  return { status: 'ACTIVE', reason: '', advice: '' };
}

/** Scopes that its integration requires and that were not granted. */
export function missingRequired({ connection, integration }: ConnectionView): string[] {
  if (connection.kind !== 'oauth2') return [];
  return (integration?.requiredScopes ?? []).filter((scope) => !connection.grantedScopes.includes(scope));
}

const INTEGRATION =
  'from latchkey.integration i where i.tenant_id = connection.tenant_id and i.id = connection.integration_id';
const CREDENTIAL =
  'from latchkey.credential k where k.tenant_id = connection.tenant_id and k.connection_id = connection.id';
const DISABLED = `not enabled or exists (select ${INTEGRATION} and not i.enabled)`;
const DANGLING =
  'exists (select from latchkey.credential_secret_ref r where r.tenant_id = connection.tenant_id and r.connection_id = connection.id and r.secret_id is null)';
const SCOPE_MISSING = `kind = 'oauth2' and exists (select ${INTEGRATION} and exists (select from jsonb_array_elements_text(i.required_scopes) as required (scope) where not jsonb_exists(connection.granted_scopes, required.scope)))`;
const CLIENT_REFUSED = `exists (select ${INTEGRATION} and i.last_error <> '')`;
const RENEWED = `connection.integration_id is not null and k.fields -> 'refreshable' is not distinct from 'true'::jsonb`;
const ENDED = `exists (select ${CREDENTIAL} and k.expire_time <= now() and not (${RENEWED}))`;
const FAILING = `exists (select ${CREDENTIAL} and k.failing_since is not null)`;
const ENDING = `exists (select ${CREDENTIAL} and case when ${RENEWED} then k.refresh_expire_time else k.expire_time end <= now() + interval '7 days')`;

/** The same decision as conditions on rows, in its order: a row has the first status whose condition it meets. */
const DECISION: readonly [ConnectionStatus, string][] = [
  ['DISABLED', DISABLED],
  ['PENDING', "status = 'PENDING'"],
  ['REVOKED', "status = 'REVOKED'"],
  ['REAUTHORIZATION_REQUIRED', "status = 'REAUTHORIZATION_REQUIRED'"],
  ['MISCONFIGURED', `${DANGLING} or ${SCOPE_MISSING}`],
  ['REAUTHORIZATION_REQUIRED', `kind = 'oauth2' and ${ENDED}`],
  ['EXPIRED', ENDED],
  ['MISCONFIGURED', CLIENT_REFUSED],
  ['REFRESH_FAILING', FAILING],
  ['EXPIRING', ENDING],
  ['ACTIVE', 'true'],
];

/** A condition on rows: the connection has this status. */
export function statusCondition(status: ConnectionStatus): string {
  const alternatives = DECISION.flatMap(([candidate, condition], index) => {
    if (candidate !== status) return [];
    const before = DECISION.slice(0, index).map(([, earlier]) => `not (${earlier})`);
    return [[`(${condition})`, ...before].join(' and ')];
  });
  return alternatives.map((alternative) => `(${alternative})`).join(' or ');
}
