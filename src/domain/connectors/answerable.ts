import type { JsonValue } from '../../model/json.ts';

/** Clients read messages that are nested a hundred times, and each level of JSON takes three. */
export const DEEPEST_JSON = 30;
/** Clients read messages of 4 MiB. */
const MOST_WEIGHT = 3_500_000;
/** Tags and lengths of a value and its name, at most. */
const OF_VALUE = 24;

/** Whether JSON is nested no deeper than it may be. */
export function isShallow(value: JsonValue, most = DEEPEST_JSON): boolean {
  if (typeof value !== 'object' || value === null) return true;
  return most > 0 && Object.values(value).every((item) => isShallow(item, most - 1));
}

/** Whether JSON can be part of an answer. */
export function isAnswerable(value: JsonValue, most = DEEPEST_JSON): boolean {
  return isShallow(value, most) && weightOf(value) <= MOST_WEIGHT;
}

/** Bytes that it takes as google.protobuf.Value, at most. */
function weightOf(value: JsonValue): number {
  if (typeof value === 'string') return OF_VALUE + Buffer.byteLength(value);
  if (typeof value !== 'object' || value === null) return OF_VALUE;
  let weight = OF_VALUE;
  for (const [name, item] of Object.entries(value)) weight += Buffer.byteLength(name) + weightOf(item);
  return weight;
}
