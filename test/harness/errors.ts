import { Code, ConnectError } from '@connectrpc/connect';
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.ts';

/** What a failed call said. */
export type Failure = {
  code: string;
  message: string;
  reason: string;
  domain: string;
  metadata: Record<string, string>;
  fields: string[];
  retryAfterMs: number | null;
};

/** The failure of a call; throws where it succeeded. */
export async function failureOf(call: Promise<unknown>): Promise<Failure> {
  let answer: unknown;
  try {
    answer = await call;
  } catch (error) {
    return asFailure(error);
  }
  throw new Error(
    `expected a failure, got ${JSON.stringify(answer, (_, value) => (typeof value === 'bigint' ? String(value) : value))}`,
  );
}

export function asFailure(error: unknown): Failure {
  if (!(error instanceof ConnectError)) throw error;
  const [info] = error.findDetails(ErrorInfoSchema);
  const [bad] = error.findDetails(BadRequestSchema);
  const [retry] = error.findDetails(RetryInfoSchema);
  const { retryDelay } = retry ?? {};
  return {
    code: Code[error.code] ?? String(error.code),
    message: error.rawMessage,
    reason: info?.reason ?? '',
    domain: info?.domain ?? '',
    metadata: { ...info?.metadata },
    fields: bad?.fieldViolations.map((violation) => violation.field) ?? [],
    retryAfterMs: retryDelay ? Number(retryDelay.seconds) * 1000 + retryDelay.nanos / 1e6 : null,
  };
}
