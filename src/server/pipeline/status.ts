import { create, toBinary } from '@bufbuild/protobuf';
import { anyPack, durationFromMs } from '@bufbuild/protobuf/wkt';
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../../gen/google/rpc/error_details_pb.ts';
import { StatusSchema } from '../../../gen/google/rpc/status_pb.ts';
import { LatchkeyError } from '../../base/error.ts';
import { type CodeName, REASONS } from '../../base/reasons.ts';
import { databaseUnavailable, isDatabaseUnavailable } from '../../db/errors.ts';

/** https://grpc.io/docs/guides/status-codes/; Connect uses the same numbers. */
const CODE_NUMBERS: Record<CodeName, number> = {
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  ALREADY_EXISTS: 6,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  OUT_OF_RANGE: 11,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  UNAUTHENTICATED: 16,
};

/** Any failure as one of ours: what is not known is INTERNAL, with the failure as its cause. */
export function asLatchkeyError(error: unknown): LatchkeyError {
  if (error instanceof LatchkeyError) return error;
  return isDatabaseUnavailable(error) ? databaseUnavailable(error) : new LatchkeyError('INTERNAL', { cause: error });
}

export function codeNumber(error: LatchkeyError): number {
  return CODE_NUMBERS[REASONS[error.reason].code];
}

/** The details of an error: always ErrorInfo; BadRequest for wrong fields; RetryInfo where waiting helps. */
export function detailsOf(error: LatchkeyError, requestId: string) {
  const { reason, metadata, fields, retryAfterMs } = error;
  const info = {
    desc: ErrorInfoSchema,
    value: { reason, domain: 'latchkey', metadata: { ...metadata, request_id: requestId } },
  };
  const fieldViolations = fields.map(({ field, description }) => ({ field, description }));
  // Of a clock that counts fractions; a Duration takes whole nanoseconds alone.
  const retryDelay = durationFromMs(Math.ceil(retryAfterMs ?? 0));
  return {
    info,
    badRequest: fields.length > 0 ? { desc: BadRequestSchema, value: { fieldViolations } } : null,
    retry: retryAfterMs !== undefined ? { desc: RetryInfoSchema, value: { retryDelay } } : null,
  };
}

/** The value of the trailer `grpc-status-details-bin`. */
export function statusBytes(error: LatchkeyError, requestId: string): Uint8Array {
  const { info, badRequest, retry } = detailsOf(error, requestId);
  const details = [anyPack(ErrorInfoSchema, create(info.desc, info.value))];
  if (badRequest) details.push(anyPack(BadRequestSchema, create(badRequest.desc, badRequest.value)));
  if (retry) details.push(anyPack(RetryInfoSchema, create(retry.desc, retry.value)));
  return toBinary(StatusSchema, create(StatusSchema, { code: codeNumber(error), message: error.message, details }));
}
