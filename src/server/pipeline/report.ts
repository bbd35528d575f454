import type { Message } from '@bufbuild/protobuf';
import type { LatchkeyError } from '../../base/error.ts';
import type { Log } from '../../base/log.ts';
import { type CodeName, REASONS } from '../../base/reasons.ts';
import { auditRead } from '../../domain/audit/audit.ts';
import type { App, Principal } from '../../domain/call.ts';
import type { Exchange } from './exchange.ts';
import type { Method } from './method.ts';
import { redacted } from './redact.ts';

/** Counters of one method, looked up once rather than at each call. */
export type MethodMetrics = ReturnType<typeof methodMetrics>;

export function methodMetrics(app: App, { labels }: Method) {
  const { started, handled, handlingSeconds } = app.metrics;
  const ok = { ...labels, grpc_code: 'OK', reason: '' };
  return {
    started: started.labels(labels),
    seconds: handlingSeconds.labels(labels),
    handledOk: {
      grpc: handled.labels({ ...ok, transport: 'grpc' }),
      connect: handled.labels({ ...ok, transport: 'connect' }),
      'grpc-web': handled.labels({ ...ok, transport: 'grpc-web' }),
    },
    failed: ({ reason }: LatchkeyError, transport: string) =>
      handled.inc({ ...labels, grpc_code: codeLabel(REASONS[reason].code), reason, transport }),
  };
}

/** As go-grpc-prometheus writes codes: `NotFound` for NOT_FOUND. */
function codeLabel(code: CodeName): string {
  return code.toLowerCase().replace(/(^|_)[a-z]/g, (start) => start.slice(-1).toUpperCase());
}

/** Counts and logs a call that ended, and records a refused access. */
export function report(
  app: App,
  metrics: MethodMetrics,
  exchange: Exchange,
  request: Message | null,
  error: LatchkeyError | null,
): void {
  const seconds = (performance.now() - exchange.startedAt) / 1000;
  const { method, transport } = exchange.incoming;
  metrics.seconds.observe(seconds);
  if (error) metrics.failed(error, transport);
  else metrics.handledOk[transport].inc();
  // There are many, and they are counted and logged together.
  if (!exchange.shed) logCall(app, exchange, method, request, error, seconds);
  if (error) recordRefusal(app, exchange, error);
}

function logCall(
  app: App,
  exchange: Exchange,
  method: Method,
  request: Message | null,
  error: LatchkeyError | null,
  seconds: number,
): void {
  const { principal, requestId, incoming } = exchange;
  const log = logOf(app, method, principal);
  const line: Record<string, unknown> = {
    code: error ? REASONS[error.reason].code : 'OK',
    ms: Math.round(seconds * 100_000) / 100,
    requestId,
    transport: incoming.transport,
    address: incoming.address,
  };
  const trace = traceOf(incoming.header('traceparent'));
  if (trace) Object.assign(line, trace);
  if (error) Object.assign(line, { reason: error.reason, ...harmless(error.metadata) });
  if (error && error.fields.length > 0) line.fields = error.fields.map((fault) => fault.field);
  if (request && app.log.isLevelEnabled('debug')) line.request = redacted(method.desc.input, request);
  if (error?.reason === 'INTERNAL') log.error({ ...line, err: error.cause }, 'call failed');
  else if (error?.cause && error.reason !== 'CANCELLED') log.warn({ ...line, err: error.cause }, 'call refused');
  else log.info(line, error ? 'call refused' : 'call');
}

/** A link by which a person reconnects is for that person, not for readers of the log. */
function harmless({ reconnect_url: _, ...metadata }: LatchkeyError['metadata']): Record<string, string> {
  return metadata;
}

/** Loggers by caller and method: what is the same in each of their lines is written out once. They live as long as the caller is remembered. */
const logs = new WeakMap<Principal | App, Map<Method, Log>>();

function logOf(app: App, method: Method, principal: Principal | null): Log {
  const owner = principal ?? app;
  const own = logs.get(owner) ?? new Map<Method, Log>();
  logs.set(owner, own);
  const known = own.get(method);
  if (known) return known;
  const actor = principal && { tenant: principal.tenantId, actor: principal.id };
  const onBehalfOf = principal?.userId && principal.userId !== principal.id ? { onBehalfOf: principal.userId } : {};
  const log = app.log.child({ method: method.path, ...actor, ...onBehalfOf });
  own.set(method, log);
  return log;
}

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}/;

/** W3C Trace Context, section 3.2. */
function traceOf(traceparent: string | undefined): { traceId: string; parentSpanId: string } | undefined {
  const match = traceparent === undefined ? null : TRACEPARENT.exec(traceparent);
  return match ? { traceId: match[1]!, parentSpanId: match[2]! } : undefined;
}

/** Someone asked for what they may not have, or what is not there for them: the audit log remembers. */
function recordRefusal(app: App, exchange: Exchange, error: LatchkeyError): void {
  const code = REASONS[error.reason].code;
  if (!exchange.principal || (code !== 'NOT_FOUND' && code !== 'PERMISSION_DENIED')) return;
  const [id = ''] = Object.values(error.metadata);
  const resource = { type: error.reason.toLowerCase(), id };
  const call = exchange.call(app, exchange.principal);
  try {
    const recorded = auditRead(call, 'access_refused', resource);
    if (recorded) recorded.catch((cause: unknown) => logUnrecorded(app, cause));
  } catch (cause) {
    logUnrecorded(app, cause);
  }
}

/** The call is refused in any case; that it was not recorded is an operator's business. */
function logUnrecorded(app: App, cause: unknown): void {
  app.log.error({ err: cause }, 'a refused access was not recorded');
}
