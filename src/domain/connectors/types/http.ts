import { isUtf8 } from 'node:buffer';
import { fieldInvalid } from '../../../base/error.ts';
import type { JsonObject, JsonValue } from '../../../model/json.ts';
import type { Call } from '../../call.ts';
import type { Mapping } from '../../requests/map-response.ts';
import type { RequestBody } from '../../requests/request-body.ts';
import type { RequestResult } from '../../requests/send-request.ts';
import { at } from '../check-values.ts';
import type { ConnectorResult, ConnectorType, Input } from '../connector-type.ts';
import { CONNECTION, headersOf, inputOf, jsonOf, requestThrough, testThrough } from '../through-connection.ts';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];
const HEADER_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}$/;
/** As HTTP takes it (RFC 9110, section 5.5): what cannot stand in a header could end it. */
const HEADER_VALUE = /^[\x20-\x7e\t]{0,8192}$/;
const MAP_NAME = /^[A-Za-z0-9_.-]{1,100}$/;
const LONGEST_QUERY = 500;

type Inputs = {
  method: string;
  path: string;
  query: JsonObject;
  headers: JsonObject;
  body?: JsonValue;
  map: JsonValue[];
  timeoutMs?: number;
  retries?: number;
  backoffMs?: number;
  maxResponseBytes: number;
};

const INPUTS: readonly Input[] = [
  { name: 'method', types: ['string'], default: 'GET', choices: METHODS, description: 'The method.' },
  {
    ...{ name: 'path', types: ['string'], default: '', maxLength: 8_192, escape: encodeURIComponent },
    description:
      'Path below the base URL of the connection; or a whole URL on one of its hosts. Variables in it are percent-encoded.',
  },
  {
    ...{ name: 'query', types: ['object'], default: {}, maxItems: 200, items: ['string', 'number', 'boolean'] },
    description: 'Query parameters to add, by name.',
  },
  {
    ...{ name: 'headers', types: ['object'], default: {}, maxItems: 100, items: ['string'] },
    description: 'Headers, by name. Those of HTTP itself, Authorization and Cookie are refused.',
  },
  {
    ...{ name: 'body', types: ['object', 'list', 'string', 'number', 'boolean'], maxLength: 262_144, maxItems: 10_000 },
    description: 'Sent as JSON; a text with a content-type that is not JSON goes as it is.',
  },
  {
    ...{ name: 'map', types: ['list'], default: [], maxItems: 50, items: ['object'] },
    description:
      'What to take out of an answer that is JSON, by JSONPath (RFC 9535): `{"as": "ids", "select": "$.data[*].id"}`.',
  },
  {
    ...{ name: 'timeoutMs', types: ['integer'], minimum: 100, maximum: 60_000 },
    description: 'Limit of one attempt in milliseconds; default that of the connection.',
  },
  {
    ...{ name: 'retries', types: ['integer'], minimum: 0, maximum: 10 },
    description: 'How often it is repeated at most; default as the connection says.',
  },
  {
    ...{ name: 'backoffMs', types: ['integer'], minimum: 0, maximum: 5_000 },
    description: 'Pause before the first repeat in milliseconds; default as the connection says.',
  },
  {
    ...{ name: 'maxResponseBytes', types: ['integer'], minimum: 1, maximum: 2_097_152, default: 1_048_576 },
    description: 'Largest body to take, in bytes.',
  },
];

/** HTTP requests with a connection's credential put in. */
export const http: ConnectorType = {
  ...{ name: 'http', version: '1.0.0', executionModel: 'built_in', displayName: 'HTTP' },
  description: 'Makes HTTP requests with the credential of a connection put in.',
  defaultCommand: 'request',
  settings: [CONNECTION],
  commands: [
    { name: 'test', description: 'Tries the connection, as TestConnection does.', inputs: [] },
    { name: 'request', description: 'Makes a request. Only an answer of 2xx is success.', inputs: INPUTS },
  ],
  execute({ call, command, config, inputs }) {
    const connectionId = config.connectionId as string;
    return command === 'test' ? testThrough(call, connectionId) : request(call, connectionId, inputs as Inputs);
  },
};

async function request(call: Call, connectionId: string, inputs: Inputs): Promise<ConnectorResult> {
  const { method, path, timeoutMs, retries, backoffMs, maxResponseBytes } = inputs;
  const headers = headersInput(inputs.headers);
  const sent = await requestThrough(
    call,
    {
      ...{ connectionId, method, path, timeoutMs, retries, backoffMs, maxResponseBytes, headers },
      query: Object.entries(inputs.query).map(([name, value]) => [name, String(value)]),
      body: inputs.body === undefined ? null : bodyInput(inputs.body, headers),
      map: inputs.map.map(mappingOf),
    },
    inputOf,
  );
  if ('failure' in sent) return sent.failure;
  const { status, mapped, mapError, attempts } = sent.answer;
  const success = status >= 200 && status < 300;
  return {
    success,
    data: {
      status,
      headers: headersOf(sent.answer),
      ...shownBody(sent.answer),
      mapped,
      mapError,
      attempts: attempts.length,
    },
    error: success ? '' : `the other side answered ${status}`,
  };
}

/** Fails with FIELD_INVALID. */
function headersInput(headers: JsonObject): [string, string][] {
  return Object.entries(headers as Record<string, string>).map(([name, value]) => {
    if (!HEADER_NAME.test(name)) throw fieldInvalid(at('inputs', 'headers'), 'holds what is no name of a header');
    if (!HEADER_VALUE.test(value))
      throw fieldInvalid(`${at('inputs', 'headers')}[${JSON.stringify(name)}]`, 'cannot stand in a header');
    return [name, value];
  });
}

function bodyInput(body: JsonValue, headers: readonly (readonly [string, string])[]): RequestBody {
  const [, type = 'application/json'] = headers.find(([name]) => name.toLowerCase() === 'content-type') ?? [];
  const plain = typeof body === 'string' && !/[/+]json\b/i.test(type);
  return plain ? { kind: 'raw', content: Buffer.from(body) } : { kind: 'json', value: body };
}

/** Fails with FIELD_INVALID. */
function mappingOf(mapping: JsonValue, index: number): Mapping {
  const { as, select } = mapping as JsonObject;
  const field = `${at('inputs', 'map')}[${index}]`;
  if (typeof as !== 'string' || !MAP_NAME.test(as)) throw fieldInvalid(`${field}.as`, 'must be a name');
  if (typeof select !== 'string' || select === '' || select.length > LONGEST_QUERY)
    throw fieldInvalid(`${field}.select`, 'must be a JSONPath query');
  return { as, select };
}

/** JSON as what it is, text as text, anything else as base64. */
function shownBody(answer: RequestResult): { body: JsonValue } | { bodyBase64: string } {
  const type = answer.headers.find(([name]) => name.toLowerCase() === 'content-type')?.[1] ?? '';
  const json = /[/+]json\b/i.test(type) ? jsonOf(answer) : undefined;
  if (json !== undefined) return { body: json };
  return isUtf8(answer.body) ? { body: answer.body.toString() } : { bodyBase64: answer.body.toString('base64') };
}
