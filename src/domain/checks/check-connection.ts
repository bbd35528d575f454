import { LatchkeyError } from '../../base/error.ts';
import { EgressError } from '../../egress/egress-error.ts';
import type { CheckStatus } from '../../model/connection-health.ts';
import type { Call } from '../call.ts';
import { type ConnectionStatus, missingRequired, statusOf } from '../connections/connection-status.ts';
import type { ConnectionView } from '../connections/connection-view.ts';
import { getCredentials } from '../tokens/get-credentials.ts';
import { CHECK_USE } from './check.ts';
import { checkAccountKey } from './check-account-key.ts';
import { checkAws } from './check-aws.ts';
import { checkHttp } from './check-http.ts';
import { type CheckReport, type Finding, finding, notAsked, unsupported } from './check-report.ts';
import { checkSignIn } from './check-sign-in.ts';
import { findingOf } from './failed-check.ts';

/**
 * Tries whether the other side takes the credential of a connection, within the connection's time.
 * Fails with CANCELLED, and with what says nothing of the connection, such as DATABASE_UNAVAILABLE and AUDIT_UNAVAILABLE.
 */
export async function checkConnection(call: Call, view: ConnectionView): Promise<CheckReport> {
  const { clock } = call.app;
  const { connection } = view;
  const startedAt = clock.monotonic();
  const found = standing(view, clock.now()) ?? (await withinTime(call, view));
  const { status, statusCode, message, advice, reason } = found;
  const grantedScopes = found.grantedScopes ?? connection.grantedScopes;
  const missingScopes = found.grantedScopes
    ? connection.requestedScopes.filter((scope) => !grantedScopes.includes(scope))
    : [...new Set([...connection.missingScopes, ...missingRequired(view)])];
  return {
    ...{ status, statusCode, message, advice, reason, grantedScopes, missingScopes },
    service: connection.provider || connection.kind,
    latencyMs: Math.round(clock.monotonic() - startedAt),
    accountId: found.accountId || connection.providerAccountId,
    accountEmail: found.accountEmail || connection.providerAccountEmail,
  };
}

const STANDINGS: Partial<Record<ConnectionStatus, { status: CheckStatus; message: string }>> = {
  DISABLED: { status: 'DISABLED', message: 'The connection is disabled.' },
  PENDING: { status: 'PENDING', message: 'The authorization of the connection has not succeeded yet.' },
  REVOKED: { status: 'REVOKED', message: 'The connection was revoked.' },
  REAUTHORIZATION_REQUIRED: { status: 'REAUTHORIZATION_REQUIRED', message: 'A person must grant access again.' },
  EXPIRED: { status: 'EXPIRED', message: 'The credential has expired.' },
  MISCONFIGURED: { status: 'MISCONFIGURED', message: 'Something that the connection needs is missing.' },
};

/** What is known without asking anybody; null: that it can be used. */
function standing(view: ConnectionView, now: number): Finding | null {
  const { status, reason, advice } = statusOf(view, now);
  const known = STANDINGS[status];
  return reason && known ? notAsked(known.status, reason, known.message, advice) : null;
}

async function withinTime(given: Call, view: ConnectionView): Promise<Finding> {
  const { timeoutMs } = view.connection;
  const limit = AbortSignal.timeout(timeoutMs);
  const signal = AbortSignal.any([given.signal, limit]);
  const outOfTime = new EgressError('timeout', { host: '', sent: true });
  const ended = new Promise<never>((_, reject) => signal.addEventListener('abort', () => reject(outOfTime)));
  const work = ask({ ...given, signal }, view);
  // Whichever comes second is of no interest.
  for (const each of [work, ended]) each.catch(() => {});
  try {
    return await Promise.race([work, ended]);
  } catch (error) {
    if (given.signal.aborted) throw new LatchkeyError('CANCELLED');
    return judged(view, limit.aborted ? outOfTime : error);
  }
}

async function ask(call: Call, view: ConnectionView): Promise<Finding> {
  const { id, kind, timeoutMs, baseUrl } = view.connection;
  if (kind === 'custom' && !baseUrl)
    return unsupported(
      'A credential of the kind custom cannot be checked.',
      'Check it where it is used, store it as another kind, or give the connection a base_url to ask.',
    );
  const credential = await getCredentials(call, id, null, CHECK_USE);
  const check = { call, view, credential, timeoutMs };
  switch (kind) {
    case 'aws':
      return checkAws(check);
    case 'smtp':
    case 'ftp':
      return checkSignIn(check);
    case 'custom':
      return withoutCredential(await checkHttp(check));
    default:
      return (await checkAccountKey(check)) ?? checkHttp(check);
  }
}

/** The request had none, so its answer says nothing of one. */
function withoutCredential(found: Finding): Finding {
  const { status, statusCode } = found;
  if (status === 'VALID') return finding(status, statusCode, { message: 'The service answered, without a credential' });
  if (status !== 'INVALID') return found;
  return finding(status, statusCode, {
    message: 'The service wants a credential, and one of the kind custom is not put in',
    advice: 'Give the connection a credential of another kind with UpdateConnection.',
  });
}

/** A connection that has its client or its login itself is what a refusal of them speaks of. */
function judged({ connection }: ConnectionView, error: unknown): Finding {
  const own = !connection.integrationId && (connection.kind === 'login' || connection.kind === 'client_credentials');
  const refused = error instanceof LatchkeyError && error.reason === 'INTEGRATION_MISCONFIGURED';
  return own && refused ? finding('INVALID') : findingOf(error);
}
