import type { IncomingMessage, ServerResponse } from 'node:http';
import { create, mergeFromJson, toJson } from '@bufbuild/protobuf';
import { AuditEntrySchema } from '../../gen/latchkey/v1/audit_entry_pb.ts';
import { AuditService, ListAuditEntriesRequestSchema } from '../../gen/latchkey/v1/audit_service_pb.ts';
import { fieldInvalid, LatchkeyError } from '../base/error.ts';
import { Slots } from '../base/slots.ts';
import { authenticate } from '../domain/access/authenticate.ts';
import { limitCalls } from '../domain/access/limit-calls.ts';
import { auditRead } from '../domain/audit/audit.ts';
import type { AuditFilter } from '../domain/audit/audit-filter.ts';
import { type ChainHead, headText } from '../domain/audit/chain-head.ts';
import { beginAuditExport, type ExportPage, exportPage } from '../domain/audit/export-audit.ts';
import type { App, Call } from '../domain/call.ts';
import { auditFilter, entryToProto } from '../handlers/audit-service.ts';
import { callerAddress } from './address.ts';
import { sendFailure } from './failure.ts';
import { presentedCredential } from './pipeline/authenticate.ts';
import { requestIdOf } from './pipeline/exchange.ts';
import { asLatchkeyError } from './pipeline/status.ts';
import { validate } from './pipeline/validate.ts';

const PERMISSION = 'audit:read';
const AT_ONCE = 16;
const AT_ONCE_OF_TENANT = 2;
/** Longest that a reader may read nothing. */
const READER_MS = 120_000;
/** By their names in the contract. */
const FILTERS = new Set([
  ...['actorKind', 'actorId', 'onBehalfOf', 'action', 'actionPrefix', 'resourceType', 'resourceId', 'requestId'],
  ...['startTime', 'endTime'],
]);

/**
 * The audit log of the caller's tenant as NDJSON: `GET /audit/export?after=&action=…`, in the order of the chain. The last line says whether that was all,
 * and after which sequence to go on.
 */
export class AuditExports {
  readonly #app: App;
  readonly #slots = new Slots();
  readonly #stopping = new AbortController();
  readonly #running = new Set<Promise<void>>();

  constructor(app: App) {
    this.#app = app;
  }

  /** Answers one request. */
  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const running = this.#serve(request, response);
    this.#running.add(running);
    await running.finally(() => this.#running.delete(running));
  }

  /** Ends those under way after the page they are at, each with a line that says where to go on. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.allSettled(this.#running);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const requestId = requestIdOf([request.headers['x-request-id']].flat()[0]);
    response.setHeader('x-request-id', requestId);
    const leaving = new AbortController();
    response.on('close', () => leaving.abort());
    const sending = new Sending(response, AbortSignal.any([leaving.signal, this.#stopping.signal]));
    const slots: { done(): void }[] = [];
    let call: Call | null = null;
    let failure: LatchkeyError | null = null;
    try {
      const again = () => this.#callOf(request, requestId, leaving.signal);
      call = await again();
      // Once for all its pages.
      limitCalls(call.app, call.principal);
      const asked = askedOf(request.url ?? '');
      const { tenantId } = call.principal;
      slots.push(...this.#take(tenantId));
      if (request.method === 'HEAD') response.writeHead(200, HEADERS).end();
      else await sending.all(again, asked, tenantId, await beginAuditExport(call, asked.filter, asked.after));
      if (leaving.signal.aborted && !sending.complete) throw new LatchkeyError('CANCELLED');
    } catch (error) {
      failure = leaving.signal.aborted ? new LatchkeyError('CANCELLED') : asLatchkeyError(error);
      if (!sending.end(failure)) sendFailure(response, failure, requestId);
    } finally {
      for (const slot of slots) slot.done();
      this.#report(call, sending, failure, requestId);
    }
  }

  /** Who asks, as they are now. Fails with CREDENTIALS_INVALID and its like, PERMISSION_MISSING. */
  async #callOf(request: IncomingMessage, requestId: string, signal: AbortSignal): Promise<Call> {
    const app = this.#app;
    const header = (name: string) => [request.headers[name]].flat()[0];
    const actsFor = header('latchkey-user') || undefined;
    const { remoteAddress = '' } = request.socket;
    const address = callerAddress(remoteAddress, header('x-forwarded-for'), app.config.trustedProxies);
    const principal = await authenticate(app, { credential: presentedCredential(header), actsFor, address });
    const call = { app, principal, requestId, address, signal };
    if (principal.permissions.has(PERMISSION)) return call;
    await auditRead(call, 'access_refused', { type: 'permission_missing', id: PERMISSION });
    throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission: PERMISSION } });
  }

  #take(tenantId: string): { done(): void }[] {
    const own = this.#slots.take(tenantId, AT_ONCE_OF_TENANT);
    const all = own && this.#slots.take('', AT_ONCE);
    if (own && all) return [own, all];
    own?.done();
    throw new LatchkeyError('OVERLOADED', { retryAfterMs: 10_000 });
  }

  #report(
    call: Call | null,
    { entries, bytes, complete }: Sending,
    failure: LatchkeyError | null,
    requestId: string,
  ): void {
    const actor = call && { tenant: call.principal.tenantId, actor: call.principal.id, address: call.address };
    const line = { ...actor, entries, bytes, complete, requestId, ...(failure ? { reason: failure.reason } : {}) };
    if (failure?.reason === 'INTERNAL') this.#app.log.error({ ...line, err: failure.cause }, 'an export failed');
    else this.#app.log.info(line, 'export');
  }
}

type Asked = { filter: AuditFilter; after: number };

const HEADERS = { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' };

/** Filter and sequence that a URL asks for. Fails with FIELD_INVALID. */
function askedOf(url: string): Asked {
  const request = create(ListAuditEntriesRequestSchema);
  const seen = new Set<string>();
  let after = 0;
  for (const [name, value] of new URL(url, 'http://localhost').searchParams) {
    if (seen.has(name)) throw fieldInvalid(name, 'is there twice');
    seen.add(name);
    if (name === 'after') after = sequenceOf(value);
    else if (FILTERS.has(name)) merge(request, name, value);
    else throw fieldInvalid(name, 'is not known');
  }
  validate({ desc: AuditService.method.listAuditEntries }, request);
  return { filter: auditFilter(request), after };
}

function sequenceOf(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw fieldInvalid('after', 'is no sequence');
  return Number(text);
}

function merge(request: ReturnType<typeof create<typeof ListAuditEntriesRequestSchema>>, name: string, value: string) {
  try {
    mergeFromJson(ListAuditEntriesRequestSchema, request, { [name]: value });
  } catch {
    throw fieldInvalid(name, 'cannot be understood');
  }
}

/** One export on its way to its reader. */
class Sending {
  readonly #response: ServerResponse;
  readonly #ending: AbortSignal;
  #after = 0;
  entries = 0;
  bytes = 0;
  complete = false;

  /** @param ending aborted when the reader is gone, or is to be let go */
  constructor(response: ServerResponse, ending: AbortSignal) {
    this.#response = response;
    this.#ending = ending;
  }

  /** Page by page, as fast as the reader reads. Whoever asked must be allowed to at each page. */
  async all(again: () => Promise<Call>, { filter, after }: Asked, tenantId: string, head: ChainHead): Promise<void> {
    this.#after = after;
    this.#response.writeHead(200, HEADERS);
    this.#response.flushHeaders();
    while (this.#after < head.sequence && !this.#ending.aborted) {
      const page = await exportPage(await again(), filter, this.#after, head);
      await this.#write(page.entries.map(lineOf).join(''));
      this.entries += page.entries.length;
      this.#after = page.reached;
    }
    this.complete = this.#after >= head.sequence;
    this.#end(
      this.complete ? { complete: true, head: headText(tenantId, head) } : { complete: false, reason: 'SHUTTING_DOWN' },
    );
  }

  /** Ends what has begun with a line that says where to go on; answers whether it had. */
  end({ reason }: LatchkeyError): boolean {
    if (!this.#response.headersSent) return false;
    this.#end({ complete: false, reason });
    return true;
  }

  #end(what: object): void {
    this.#response.end(`${JSON.stringify({ after: String(this.#after), ...what })}\n`);
  }

  /** Resolves when the reader has room for more. */
  async #write(text: string): Promise<void> {
    this.bytes += Buffer.byteLength(text);
    if (!text || this.#response.write(text) || this.#ending.aborted) return;
    const response = this.#response;
    await new Promise<void>((done) => {
      const timer = setTimeout(() => response.destroy(), READER_MS);
      const go = () => {
        clearTimeout(timer);
        response.off('drain', go);
        this.#ending.removeEventListener('abort', go);
        done();
      };
      response.once('drain', go);
      this.#ending.addEventListener('abort', go);
    });
  }
}

function lineOf({ sequence, entry }: ExportPage['entries'][number]): string {
  const message = create(AuditEntrySchema, { ...entryToProto(entry), sequence: BigInt(sequence) });
  return `${JSON.stringify(toJson(AuditEntrySchema, message))}\n`;
}
