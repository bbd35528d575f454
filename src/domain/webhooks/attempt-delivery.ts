import { LatchkeyError } from '../../base/error.ts';
import { retryAfterMs } from '../../base/retry-after.ts';
import { IntegrityError } from '../../crypto/sealed-value.ts';
import { databaseUnavailable, isDatabaseUnavailable } from '../../db/errors.ts';
import { EgressError } from '../../egress/egress-error.ts';
import { systemCall } from '../access/principal.ts';
import type { App, Call, ReadyCredential } from '../call.ts';
import { httpParameters } from '../connections/http-parameters.ts';
import type { LeasedDelivery } from '../deliveries.ts';
import { type Outcome, usageOf } from '../requests/decide-retry.ts';
import { addCredentialQuery, requestHeaders, targetUrl } from '../requests/outgoing-request.ts';
import { getCredentials } from '../tokens/get-credentials.ts';
import { renewRefused } from '../tokens/renew-refused.ts';
import { endpointTarget } from './endpoint-target.ts';
import type { AttemptResult } from './judge-attempt.ts';
import { webhookHeaders } from './sign.ts';
import { signingSecrets } from './signing-secrets.ts';

/** How an attempt went, and where it went; empty: nowhere. */
type Attempted = AttemptResult & { url: string };
type Answer = { status: number; headers: Headers; url: string };

const MOST_ANSWER_BYTES = 1024 * 1024;
const USE = { permission: 'connection:use', action: 'credentials_used' } as const;

/**
 * Sends a delivery once, with the credential and the signature of this moment; where the credential is refused (401) and can be renewed, a second time.
 * Nothing leaves after its time or its lease has ended.
 */
export async function attemptDelivery(app: App, delivery: LeasedDelivery, signal: AbortSignal): Promise<Attempted> {
  const end = Math.min(app.clock.monotonic() + delivery.timeoutMs, delivery.leaseEnd);
  try {
    const { status, headers, url } = await (delivery.connectionId === null
      ? send(app, delivery, end, signal, null)
      : sendAs(app, delivery, delivery.connectionId, end, signal));
    count(app, delivery, { status });
    return { kind: 'answered', status, retryAfterMs: retryAfterMs(headers.get('retry-after'), app.clock.now()), url };
  } catch (error) {
    if (error instanceof EgressError) {
      if (error.kind !== 'aborted') count(app, delivery, { failure: error.kind, sent: error.sent });
      return { kind: 'failed', failure: error.kind, url: '' };
    }
    return { kind: 'refused', reason: reasonOf(app, delivery, error), url: '' };
  }
}

function count({ usage }: App, { tenantId, connectionId }: LeasedDelivery, outcome: Outcome): void {
  if (connectionId) usage.called(tenantId, connectionId, usageOf(outcome));
}

function reasonOf({ log, metrics }: App, { id }: LeasedDelivery, error: unknown): LatchkeyError['reason'] {
  if (error instanceof LatchkeyError && error.reason !== 'INTERNAL') return error.reason;
  if (isDatabaseUnavailable(error)) return databaseUnavailable(error).reason;
  if (error instanceof IntegrityError) metrics.integrityFailures.inc();
  log.error({ err: error, deliveryId: id }, 'a delivery could not be attempted');
  return 'INTERNAL';
}

async function sendAs(
  app: App,
  delivery: LeasedDelivery,
  connectionId: string,
  end: number,
  signal: AbortSignal,
): Promise<Answer> {
  const call = connectionCall(app, delivery.tenantId);
  const credential = await getCredentials(call, connectionId, null, USE);
  const answer = await send(app, delivery, end, signal, credential);
  const renewed = answer.status === 401 ? await renewRefused(call, credential, USE) : null;
  return renewed ? send(app, delivery, end, signal, renewed) : answer;
}

/** Whoever asked for the delivery was permitted to use the connection then; that is what this call may do, and no more. */
function connectionCall(app: App, tenantId: string): Call {
  const call = systemCall(app, tenantId);
  return { ...call, principal: { ...call.principal, permissions: new Set([USE.permission]) } };
}

async function send(
  app: App,
  delivery: LeasedDelivery,
  end: number,
  signal: AbortSignal,
  credential: ReadyCredential | null,
): Promise<Answer> {
  const { messageId, method, request, host } = delivery;
  const { url, headers, secrets } = await targetOf(app, delivery, credential);
  const timestamp = Math.floor(app.clock.now() / 1_000);
  const own = webhookHeaders({ id: messageId, timestamp, body: request.body ?? '' }, secrets);
  const timeoutMs = end - app.clock.monotonic();
  if (app.clock.monotonic() >= delivery.leaseEnd) throw new EgressError('aborted', { host, sent: false });
  // It took all the time to get the credential.
  if (timeoutMs <= 0) throw new LatchkeyError('PROVIDER_UNAVAILABLE');
  const answer = await app.egress.fetch(url, {
    ...{ method, headers: [...headers, ...own], body: request.body, signal, timeoutMs },
    maxBodyBytes: MOST_ANSWER_BYTES,
    mayLeave: () => app.clock.monotonic() < delivery.leaseEnd,
  });
  return { status: answer.status, headers: answer.headers, url: String(url) };
}

/** Where it goes, with which headers, and what it is signed with. */
async function targetOf(app: App, delivery: LeasedDelivery, credential: ReadyCredential | null) {
  const { tenantId, signedBy, purpose, request } = delivery;
  if (purpose !== 'webhook') {
    const { url, headers, secrets } = await endpointTarget(app, tenantId, signedBy, purpose === 'test_event');
    return { url, headers: [...request.headers, ...headers], secrets };
  }
  const secrets = signedBy ? await signingSecrets(app, tenantId, signedBy) : [];
  const { url, headers } = credential ? withCredential(request, credential) : request;
  return { url, headers, secrets };
}

function withCredential(request: LeasedDelivery['request'], { kind, fields, secrets, requests }: ReadyCredential) {
  const parameters = httpParameters(kind, fields, secrets);
  const url = targetUrl(requests, { path: request.url, query: [] });
  addCredentialQuery(url, parameters);
  const defaults = Object.entries(requests.defaultHeaders).filter(([name]) => !/^webhook-/i.test(name));
  return { url, headers: requestHeaders(Object.fromEntries(defaults), request.headers, parameters) };
}
