import { LatchkeyError } from '../../base/error.ts';
import { REASONS, type Reason } from '../../base/reasons.ts';
import type { JsonObject, JsonValue } from '../../model/json.ts';
import type { Call } from '../call.ts';
import { testConnection } from '../checks/test-connection.ts';
import { type NewRequest, type RequestResult, sendRequest } from '../requests/send-request.ts';
import { DEEPEST_JSON, isAnswerable } from './answerable.ts';
import { at } from './check-values.ts';
import type { ConnectorResult, Input } from './connector-type.ts';

/** What the other side does to a request. Everything else is for the caller to mend, and fails the call. */
const OF_OTHER_SIDE: readonly Reason[] = [
  'TARGET_UNAVAILABLE',
  'TARGET_TIMEOUT',
  'RESPONSE_TOO_LARGE',
  'PROVIDER_UNAVAILABLE',
  'PROVIDER_RATE_LIMITED',
];
/** What types put around an answer is nested, too. */
const AROUND = 5;
const WORKING = ['VALID', 'RESTRICTED'];

/** The connection that requests are made with, as a setting. */
export const CONNECTION: Input = {
  ...{ name: 'connectionId', types: ['string'], required: true, maxLength: 100, connection: true },
  description: 'The connection whose credential is put in. Whoever executes a command must be allowed to use it.',
};

type Request = Pick<NewRequest, 'connectionId' | 'path'> & Partial<NewRequest>;

/**
 * Makes a request as SendRequest does. `failure`: there was no answer, for what the other side did.
 * @param placeOf names the value that made a field of the request
 */
export async function requestThrough(
  call: Call,
  request: Request,
  placeOf: (field: string) => string,
): Promise<{ answer: RequestResult } | { failure: ConnectorResult }> {
  const defaults = {
    method: 'GET',
    query: [],
    headers: [],
    body: null,
    auth: null,
    map: [],
    maxResponseBytes: 1024 * 1024,
  };
  const limits = { timeoutMs: undefined, retries: undefined, backoffMs: undefined };
  try {
    return { answer: await sendRequest(call, { ...defaults, ...limits, ...request }) };
  } catch (error) {
    if (!(error instanceof LatchkeyError)) throw error;
    const { reason, metadata, fields } = error;
    if (OF_OTHER_SIDE.includes(reason) && !call.signal.aborted)
      return { failure: { success: false, error: REASONS[reason].text, data: { reason, ...metadata } } };
    if (reason !== 'FIELD_INVALID') throw error;
    const named = fields.map(({ field, description }) => ({ field: placeOf(field), description }));
    throw new LatchkeyError('FIELD_INVALID', { fields: named });
  }
}

/** The value of a request that a fault is about: `headers[0].name` is of `headers`. */
export function inputOf(field: string): string {
  return at('inputs', /^\w*/.exec(field)![0]);
}

/** Tries a connection, as TestConnection does. */
export async function testThrough(call: Call, connectionId: string): Promise<ConnectorResult> {
  const { status, statusCode, message, advice, reason } = await testConnection(call, connectionId);
  const success = WORKING.includes(status);
  return { success, data: { status, statusCode, message, advice, reason }, error: success ? '' : message };
}

/** JSON of an answer that can be answered on; undefined: it is none. */
export function jsonOf({ body }: Pick<RequestResult, 'body'>): JsonValue | undefined {
  try {
    const value = JSON.parse(body.toString()) as JsonValue;
    return isAnswerable(value, DEEPEST_JSON - AROUND) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Headers by name, in lower case; several of a name are one list (RFC 9110, section 5.3). */
export function headersOf({ headers }: Pick<RequestResult, 'headers'>): JsonObject {
  const byName = new Map<string, string>();
  for (const [name, value] of headers) {
    const known = byName.get(name.toLowerCase());
    byName.set(name.toLowerCase(), known === undefined ? value : `${known}, ${value}`);
  }
  return Object.fromEntries(byName);
}
