import { setTimeout as sleep } from 'node:timers/promises';
import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import { EgressError } from '../../egress/egress-error.ts';
import type { JsonObject } from '../../model/json.ts';
import type { RateLimitHeader } from '../../providers/types.ts';
import type { Call, ReadyCredential } from '../call.ts';
import { read } from '../change.ts';
import type { CredentialInput } from '../connections/store-credential.ts';
import { lookUpProvider } from '../integrations/find-provider.ts';
import { type CredentialUse, getCredentials, storedCredential } from '../tokens/get-credentials.ts';
import { renewRefused } from '../tokens/renew-refused.ts';
import { isRepeatable, type Outcome, pauseBeforeRetry, usageOf } from './decide-retry.ts';
import { explicitAuth } from './explicit-auth.ts';
import { type Mapping, mapBody, readMappings } from './map-response.ts';
import { isCallersHeader } from './outgoing-request.ts';
import { headersToSend, type PreparedRequest, prepareRequest } from './prepare-request.ts';
import { bodyBytes, type RequestBody } from './request-body.ts';
import { retryAfterMs } from './retry-after.ts';
import { shownHeaders } from './shown-headers.ts';
import { targetFailure } from './target-failure.ts';

export type NewRequest = {
  connectionId: string;
  method: string;
  path: string;
  query: readonly (readonly [string, string])[];
  headers: readonly (readonly [string, string])[];
  body: RequestBody | null;
  /** In place of the connection's credential. */
  auth: CredentialInput | null;
  map: readonly Mapping[];
  /** Undefined: the connection's. */
  timeoutMs: number | undefined;
  retries: number | undefined;
  backoffMs: number | undefined;
  maxResponseBytes: number;
};

/** `error` empty: an answer came. Times in ms. */
export type Attempt = { status: number; error: string; durationMs: number; pauseMs: number };

export type RequestResult = {
  status: number;
  headers: [string, string][];
  body: Buffer;
  mapped: JsonObject;
  mapError: string;
  attempts: Attempt[];
  durationMs: number;
  retryAfterMs: number | null;
};

const USE: CredentialUse = { permission: 'connection:use', action: 'request_sent' };
const UNAUTHORIZED = 401;
const NOTHING = new Uint8Array();

/**
 * Makes a request with a connection's credential. Whatever the other side answers is a result.
 * Fails with CONNECTION_NOT_HTTP, HOST_NOT_ALLOWED, TARGET_UNAVAILABLE, TARGET_TIMEOUT, RESPONSE_TOO_LARGE, ADDRESS_FORBIDDEN, FIELD_INVALID, and as
 * getCredentials does.
 */
export async function sendRequest(call: Call, input: NewRequest): Promise<RequestResult> {
  refuseForeignHeaders(input.headers);
  const mappings = readMappings(input.map);
  const body = input.body && bodyBytes(input.body);
  const { connectionId, auth } = input;
  const credential = auth
    ? await explicitAuth(call, await storedCredential(call, connectionId, USE), auth)
    : await getCredentials(call, connectionId, null, USE);
  const sending = new Sending(call, input, body);
  let answer = await sending.until(credential);
  if (answer.response.status === UNAUTHORIZED && !auth) {
    const renewed = await renewRefused(call, credential, USE);
    if (renewed) answer = await sending.until(renewed);
  }
  const { response, prepared, of } = answer;
  const bytes = Buffer.from(await response.arrayBuffer());
  const { mapped, error } = mapBody(mappings, bytes);
  return {
    ...{ status: response.status, headers: shownHeaders(response.headers, of, prepared.parameters), body: bytes },
    ...{ mapped, mapError: error, attempts: sending.attempts, durationMs: performance.now() - sending.startedAt },
    retryAfterMs: answer.askedMs,
  };
}

function refuseForeignHeaders(headers: NewRequest['headers']): void {
  for (const [index, [name]] of headers.entries())
    if (!isCallersHeader(name)) throw fieldInvalid(`headers[${index}].name`, 'is not for the caller to set');
}

type Answer = { response: Response; prepared: PreparedRequest; of: ReadyCredential; askedMs: number | null };

/** One request and its attempts. */
class Sending {
  readonly startedAt = performance.now();
  readonly attempts: Attempt[] = [];
  readonly #call: Call;
  readonly #input: NewRequest;
  readonly #body: ReturnType<typeof bodyBytes> | null;
  #repeats = 0;

  constructor(call: Call, input: NewRequest, body: ReturnType<typeof bodyBytes> | null) {
    this.#call = call;
    this.#input = input;
    this.#body = body;
  }

  /** Sends until there is an answer that is not worth another attempt. */
  async until(of: ReadyCredential): Promise<Answer> {
    const { app } = this.#call;
    const { method, headers } = this.#input;
    const prepared = prepareRequest(of, this.#input, this.#body);
    const repeatable = isRepeatable(method, headers);
    for (;;) {
      const startedAt = performance.now();
      const sent = await this.#attempt(of, prepared);
      const askedMs = 'response' in sent ? await this.#askedMs(sent.response, of.provider) : null;
      const outcome: Outcome =
        'response' in sent ? { status: sent.response.status } : { failure: sent.error.kind, sent: sent.error.sent };
      const pauseMs = this.#pause(of, outcome, repeatable, askedMs);
      app.usage.called(of.tenantId, of.connectionId, usageOf(outcome));
      this.attempts.push({
        status: 'response' in sent ? sent.response.status : 0,
        error: 'response' in sent ? '' : sent.error.kind,
        durationMs: performance.now() - startedAt,
        pauseMs: pauseMs ?? 0,
      });
      if (pauseMs === null) {
        if ('response' in sent) return { response: sent.response, prepared, of, askedMs };
        throw targetFailure(sent.error, prepared.url.hostname, this.attempts.length, this.#input.maxResponseBytes);
      }
      this.#repeats += 1;
      await this.#wait(pauseMs);
    }
  }

  async #attempt(
    of: ReadyCredential,
    prepared: PreparedRequest,
  ): Promise<{ response: Response } | { error: EgressError }> {
    const { method, timeoutMs = of.requests.timeoutMs, maxResponseBytes: maxBodyBytes } = this.#input;
    const { app, signal } = this.#call;
    const body = this.#body?.bytes ?? null;
    const headers = await headersToSend(of, method, prepared, body ?? NOTHING, app.clock.now());
    try {
      return {
        response: await app.egress.fetch(prepared.url, { method, headers, body, timeoutMs, maxBodyBytes, signal }),
      };
    } catch (error) {
      if (!(error instanceof EgressError) || signal.aborted) throw error;
      return { error };
    }
  }

  #pause(of: ReadyCredential, outcome: Outcome, repeatable: boolean, askedMs: number | null): number | null {
    const { retries = of.requests.retries, backoffMs = of.requests.backoffMs } = this.#input;
    const leftMs = this.#call.app.config.maxCallMs - (performance.now() - this.startedAt);
    const repeats = this.#repeats;
    return pauseBeforeRetry({
      outcome,
      repeatable,
      repeats,
      retries,
      backoffMs,
      askedMs,
      leftMs,
      random: Math.random(),
    });
  }

  /** Only answers that are worth another attempt are asked how long to wait. */
  async #askedMs({ status, headers }: Response, provider: string): Promise<number | null> {
    if (status !== 429 && status !== 503) return null;
    return retryAfterMs(headers, await this.#rateLimitHeaders(provider), this.#call.app.clock.now());
  }

  async #rateLimitHeaders(provider: string): Promise<RateLimitHeader[]> {
    if (!provider) return [];
    const { app, principal } = this.#call;
    const known = await read(this.#call, (em) => lookUpProvider(app, em, principal.tenantId, provider));
    return known?.definition.rateLimitHeaders ?? [];
  }

  async #wait(ms: number): Promise<void> {
    try {
      await sleep(ms, undefined, { signal: this.#call.signal });
    } catch (cause) {
      throw new LatchkeyError('CANCELLED', { cause });
    }
  }
}
