import { REASONS, type Reason } from './reasons.ts';

/** One wrong field of a request. */
export type FieldFault = {
  /** Path, as `default_headers["Host"]`. */
  field: string;
  /** What is wrong with it, for people. */
  description: string;
};

type Details = {
  /** What varies, for programs; the contract's ErrorReason lists the keys. */
  metadata?: Record<string, string>;
  /** Least delay before another try. */
  retryAfterMs?: number;
  /** The wrong fields, with FIELD_INVALID. */
  fields?: FieldFault[];
  /** What lies beneath: for the log alone. */
  cause?: unknown;
};

/** A failure with a reason of the contract. The caller sees the reason, its constant text and the details, never the cause. */
export class LatchkeyError extends Error {
  readonly reason: Reason;
  readonly metadata: Record<string, string>;
  readonly retryAfterMs: number | undefined;
  readonly fields: FieldFault[];

  constructor(reason: Reason, details: Details = {}) {
    super(REASONS[reason].text, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'LatchkeyError';
    this.reason = reason;
    this.metadata = details.metadata ?? {};
    this.retryAfterMs = details.retryAfterMs;
    this.fields = details.fields ?? [];
  }
}

/** FIELD_INVALID for one field. */
export function fieldInvalid(field: string, description: string): LatchkeyError {
  return new LatchkeyError('FIELD_INVALID', { fields: [{ field, description }] });
}

/** A reason not to start, with what to do about it. Printed as it is, without a stack. */
export class StartError extends Error {
  override readonly name = 'StartError';
}
