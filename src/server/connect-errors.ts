import { Code, ConnectError } from '@connectrpc/connect';
import { encodeEnvelope, type UniversalServerResponse } from '@connectrpc/connect/protocol';
import {
  codeToHttpStatus,
  contentTypeUnaryJson,
  endStreamFlag,
  endStreamFromJson,
  endStreamToJson,
  errorFromJsonBytes,
  errorToJsonBytes,
} from '@connectrpc/connect/protocol-connect';
import { findTrailerError, setTrailerStatus } from '@connectrpc/connect/protocol-grpc';
import { trailerFlag, trailerParse, trailerSerialize } from '@connectrpc/connect/protocol-grpc-web';
import type { FieldFault } from '../base/error.ts';

const ENVELOPE_HEADER_BYTES = 5;

/** The error in a response that the library made without us: of Connect unary, Connect streaming or gRPC-Web. */
export async function errorOfResponse({ header, body }: UniversalServerResponse): Promise<ConnectError> {
  const bytes = await collect(body);
  const contentType = header?.get('content-type') ?? '';
  const unknown = new ConnectError('', Code.Unknown);
  try {
    if (contentType.startsWith('application/grpc-web'))
      return findTrailerError(trailerParse(bytes.subarray(ENVELOPE_HEADER_BYTES))) ?? unknown;
    if (contentType.startsWith('application/connect+'))
      return endStreamFromJson(bytes.subarray(ENVELOPE_HEADER_BYTES)).error ?? unknown;
    return errorFromJsonBytes(bytes, undefined, unknown);
  } catch {
    return unknown;
  }
}

/** What the library's text says of a message that it could not decode. Only the name of the field is taken from it, for it may quote the value. */
export function undecodable(text: string): FieldFault {
  const unknown = /key "(\w{1,100})" is unknown/.exec(text)?.[1];
  if (unknown) return { field: unknown, description: 'is not a field of the message' };
  const named = /cannot decode field latchkey\.v1\.[\w.]*?\.(\w+) from JSON/.exec(text)?.[1];
  return named
    ? { field: named, description: 'has a value that does not fit its type' }
    : { field: '', description: 'the message cannot be decoded' };
}

/** The same response with another error in it. */
export async function responseWith(
  { status, header }: UniversalServerResponse,
  error: ConnectError,
): Promise<UniversalServerResponse> {
  const headers = new Headers(header);
  for (const name of ['content-encoding', 'grpc-encoding', 'connect-content-encoding', 'content-length'])
    headers.delete(name);
  const contentType = headers.get('content-type') ?? '';
  if (contentType.startsWith('application/grpc-web')) {
    const trailer = trailerSerialize(setTrailerStatus(new Headers(), error));
    return { status, header: headers, body: once(encodeEnvelope(trailerFlag, trailer)) };
  }
  if (contentType.startsWith('application/connect+')) {
    const end = Buffer.from(JSON.stringify(endStreamToJson(new Headers(), error, undefined)));
    return { status, header: headers, body: once(encodeEnvelope(endStreamFlag, end)) };
  }
  headers.set('content-type', contentTypeUnaryJson);
  return { status: codeToHttpStatus(error.code), header: headers, body: once(errorToJsonBytes(error, undefined)) };
}

/** A refusal of HTTP itself (405, 415, 505), with the error as JSON. */
export function refusalWith({ status, header }: UniversalServerResponse, error: ConnectError): UniversalServerResponse {
  const headers = new Headers(header);
  headers.set('content-type', contentTypeUnaryJson);
  return { status, header: headers, body: once(errorToJsonBytes(error, undefined)) };
}

async function collect(body: UniversalServerResponse['body']): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body ?? []) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function* once(bytes: Uint8Array): AsyncIterable<Uint8Array> {
  yield bytes;
}
