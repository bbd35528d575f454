import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';

/** A request as it came. */
export type Asked = {
  method: string;
  path: string;
  query: URLSearchParams;
  headers: IncomingHttpHeaders;
  text: string;
  ip: string;
  /** What the route's path has in place of `{…}`. */
  param: string;
  /** Aborted when the client hangs up. */
  gone: AbortSignal;
};

export type Answer = {
  status: number;
  headers?: OutgoingHttpHeaders;
  /** An object is sent as JSON. */
  body?: unknown;
  gzip?: boolean;
  /** Sent one after the other instead of the body. */
  frames?: AsyncIterable<string>;
};

/** FastAPI's HTTPException. */
export class Refusal extends Error {
  readonly status: number;
  readonly detail: unknown;
  readonly headers: OutgoingHttpHeaders;

  constructor(status: number, detail: unknown, headers: OutgoingHttpHeaders = {}) {
    super(`Refused with ${status}`);
    this.status = status;
    this.detail = detail;
    this.headers = headers;
  }
}

/** FastAPI's answer to input that is not as it should be. */
export function invalid(
  ...problems: { type: string; loc: (string | number)[]; msg: string; input: unknown }[]
): Refusal {
  return new Refusal(422, problems);
}

export function missing(name: string, input: unknown = null) {
  return { type: 'missing', loc: ['body', name], msg: 'Field required', input };
}

/** A body as FastAPI reads it: JSON if it is called so, else text that is no object; undefined if there is none. */
export function bodyOf({ headers, text }: Asked): unknown {
  if (text === '') return undefined;
  if (!/^application\/(.+\+)?json\b/i.test(headers['content-type'] ?? '')) return text;
  try {
    return JSON.parse(text);
  } catch {
    throw invalid({ type: 'json_invalid', loc: ['body', 0], msg: 'JSON decode error', input: {} });
  }
}

export type Kind = { type: string; msg: string; is: (value: unknown) => boolean };
export type Fields = Record<string, Kind>;

export const STRING = kind('string', (value) => typeof value === 'string');
export const BOOLEAN = kind('boolean', (value) => typeof value === 'boolean');
export const DICTIONARY = kind('dictionary', isObject);
export const LIST = kind('list', Array.isArray);

export function oneOf(...values: string[]): Kind {
  const msg = `Input should be ${values.map((value) => `'${value}'`).join(', ')}`;
  return { type: 'literal_error', msg, is: (value) => values.includes(value as string) };
}

function kind(name: string, is: Kind['is']): Kind {
  return { type: `${name}_type`, msg: `Input should be a valid ${name}`, is };
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The members of a body that have a meaning. Null is as good as nothing where nothing is required. */
export function members(body: unknown, fields: Fields, required: string[] = []): Record<string, unknown> {
  if (!isObject(body)) {
    const msg = 'Input should be a valid dictionary or object to extract fields from';
    throw invalid({ type: 'model_attributes_type', loc: ['body'], msg, input: body ?? null });
  }
  const absent = required.filter((name) => body[name] === undefined).map((name) => missing(name, body));
  const wrong = Object.entries(fields)
    .filter(([name]) => required.includes(name) || body[name] !== null)
    .filter(([name, { is }]) => body[name] !== undefined && !is(body[name]))
    .map(([name, { type, msg }]) => ({ type, loc: ['body', name], msg, input: body[name] }));
  if (absent.length + wrong.length > 0) throw invalid(...absent, ...wrong);
  const known = Object.keys(fields).filter((name) => body[name] !== undefined);
  return Object.fromEntries(known.map((name) => [name, body[name]]));
}

const UUID = /^[0-9a-f]{8}-?([0-9a-f]{4}-?){3}[0-9a-f]{12}$/i;

export function isUuid(text: string): boolean {
  return UUID.test(text);
}

/** The id in the path. */
export function uuidOf({ param }: Asked, name: string): string {
  if (isUuid(param)) return param.toLowerCase();
  throw invalid({ type: 'uuid_parsing', loc: ['path', name], msg: 'Input should be a valid UUID', input: param });
}

export function flagOf({ query }: Asked, name: string, otherwise: boolean): boolean {
  const text = query.get(name);
  return text === null ? otherwise : /^(1|true|t|yes|y|on)$/i.test(text);
}

export function wholeOf({ query }: Asked, name: string, otherwise: number): number {
  const text = query.get(name) ?? String(otherwise);
  if (/^-?\d+$/.test(text)) return Number(text);
  throw invalid({ type: 'int_parsing', loc: ['query', name], msg: 'Input should be a valid integer', input: text });
}

export function cookieOf({ headers }: Asked, name: string): string | undefined {
  const cookies = (headers.cookie ?? '').split(/;\s*/).map((pair) => pair.split('='));
  return cookies.find(([key]) => key === name)?.[1];
}
