import { type MessageInitShape, toJson } from '@bufbuild/protobuf';
import { ValueSchema } from '@bufbuild/protobuf/wkt';
import type { SendRequestRequest, SendRequestResponseSchema } from '../../gen/latchkey/v1/connection_service_pb.ts';
import type { RequestBody as ProtoBody } from '../../gen/latchkey/v1/http_request_pb.ts';
import type { RequestBody } from '../domain/requests/request-body.ts';
import type { NewRequest, RequestResult } from '../domain/requests/send-request.ts';
import { credentialInput } from './credential.ts';
import { toDuration } from './time.ts';

const DEFAULT_RESPONSE_BYTES = 1024 * 1024;

/** A request as values. */
export function requestInput(request: SendRequestRequest): NewRequest {
  const { connectionId, path, map, timeoutMs, retries, backoffMs } = request;
  return {
    ...{ connectionId, path, map, timeoutMs, retries, backoffMs, method: request.method || 'GET' },
    query: request.query.map(pair),
    headers: request.headers.map(pair),
    body: request.body ? bodyInput(request.body) : null,
    auth: request.auth ? credentialInput(request.auth) : null,
    maxResponseBytes: request.maxResponseBytes || DEFAULT_RESPONSE_BYTES,
  };
}

function bodyInput({ content }: ProtoBody): RequestBody {
  switch (content.case) {
    case 'raw':
      return { kind: 'raw', content: content.value };
    case 'json':
      return { kind: 'json', value: content.value.kind.case ? toJson(ValueSchema, content.value) : null };
    case 'form':
      return { kind: 'form', fields: content.value.fields.map(pair) };
    case 'multipart':
      return { kind: 'multipart', parts: content.value.parts };
    default:
      throw new Error('a body without content passed validation');
  }
}

function pair({ name, value }: { name: string; value: string }): [string, string] {
  return [name, value];
}

/** What came of a request, as the contract says it. */
export function requestResultToProto(result: RequestResult): MessageInitShape<typeof SendRequestResponseSchema> {
  const { status, body, mapped, mapError, attempts } = result;
  return {
    response: { status, body, headers: result.headers.map(([name, value]) => ({ name, value })) },
    ...{ mapped, mapError },
    attempts: attempts.map(({ status, error, durationMs, pauseMs }) => ({
      ...{ status, error, duration: toDuration(durationMs), pause: toDuration(pauseMs) },
    })),
    duration: toDuration(result.durationMs),
    retryAfter: result.retryAfterMs === null ? undefined : toDuration(result.retryAfterMs),
  };
}
