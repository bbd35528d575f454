import { compile, type JSONPathQuery, type JSONValue } from 'json-p3';
import { fieldInvalid } from '../../base/error.ts';
import { TimeLimitError, withinMs } from '../../base/time-limited.ts';
import type { JsonObject } from '../../model/json.ts';

/** A value to take out of an answer: JSONPath (RFC 9535). */
export type Mapping = { as: string; select: string };
export type ReadMapping = { as: string; query: JSONPathQuery };

/** By the clock: a busy machine needs more of it. */
const LIMIT_MS = 150;
const MOST_MAPPED_CHARS = 4 * 1024 * 1024;

/** Reads the queries, before anything is sent. Fails with FIELD_INVALID, naming `map[0].select`. */
export function readMappings(mappings: readonly Mapping[]): ReadMapping[] {
  const names = new Set<string>();
  return mappings.map(({ as, select }, index) => {
    if (names.has(as)) throw fieldInvalid(`map[${index}].as`, 'is there twice');
    names.add(as);
    try {
      return { as, query: compile(select) };
    } catch {
      throw fieldInvalid(`map[${index}].select`, 'is no JSONPath query');
    }
  });
}

/** The values by name: of a singular query the value, or none; of any other a list. `error` says why there are none at all. */
export function mapBody(mappings: readonly ReadMapping[], body: Buffer): { mapped: JsonObject; error: string } {
  if (mappings.length === 0) return { mapped: {}, error: '' };
  let document: JSONValue;
  try {
    document = JSON.parse(body.toString()) as JSONValue;
  } catch {
    return { mapped: {}, error: 'the answer is not JSON' };
  }
  try {
    const entries = withinMs(LIMIT_MS, () => allSelected(mappings, document));
    if (!entries) return { mapped: {}, error: 'the mapped values are too large' };
    return { mapped: Object.fromEntries(entries) as JsonObject, error: '' };
  } catch (error) {
    if (error instanceof TimeLimitError) return { mapped: {}, error: 'the queries took too long' };
    // Such as an answer that is nested too deeply.
    return { mapped: {}, error: 'the queries cannot be applied to the answer' };
  }
}

/** Null: as JSON they are too large. Queries can select each part of an answer many times over. */
function allSelected(mappings: readonly ReadMapping[], document: JSONValue): [string, unknown][] | null {
  const entries: [string, unknown][] = [];
  let chars = 0;
  for (const { as, query } of mappings)
    for (const entry of selected(as, query, document)) {
      for (const value of Array.isArray(entry[1]) ? entry[1] : [entry[1]]) {
        chars += JSON.stringify(value).length;
        if (chars > MOST_MAPPED_CHARS) return null;
      }
      entries.push(entry);
    }
  return entries;
}

function selected(as: string, query: JSONPathQuery, document: JSONValue): [string, unknown][] {
  const values = query.query(document).values();
  if (!query.singularQuery()) return [[as, values]];
  return values.length === 0 ? [] : [[as, values[0]]];
}
