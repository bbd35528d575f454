import { type Timestamp, timestampDate, timestampFromDate } from '@bufbuild/protobuf/wkt';

export function toTimestamp(date: Date | null): Timestamp | undefined {
  return date ? timestampFromDate(date) : undefined;
}

export function fromTimestamp(timestamp: Timestamp | undefined): Date | null {
  return timestamp ? timestampDate(timestamp) : null;
}
