import { create } from '@bufbuild/protobuf';
import {
  type Duration,
  DurationSchema,
  type Timestamp,
  timestampDate,
  timestampFromDate,
} from '@bufbuild/protobuf/wkt';
import { fieldInvalid } from '../base/error.ts';

/** 9999-12-31T23:59:59Z, the last time that a Timestamp may say. */
const LAST_SECOND = 253_402_300_799n;

/** To the µs: clocks count fractions of it, which a Duration cannot say. */
export function toDuration(ms: number): Duration {
  const us = Math.round(ms * 1000);
  return create(DurationSchema, { seconds: BigInt(Math.trunc(us / 1e6)), nanos: (us % 1e6) * 1000 });
}

export function toTimestamp(date: Date | null): Timestamp | undefined {
  return date ? timestampFromDate(date) : undefined;
}

/** Fails with FIELD_INVALID where the time is before the epoch or beyond the year 9999. */
export function fromTimestamp(timestamp: Timestamp | undefined, field = 'expire_time'): Date | null {
  if (!timestamp) return null;
  const { seconds, nanos } = timestamp;
  if (seconds < 0n || seconds > LAST_SECOND || nanos < 0 || nanos > 999_999_999) {
    throw fieldInvalid(field, 'is not a time between 1970 and 9999');
  }
  return timestampDate(timestamp);
}
