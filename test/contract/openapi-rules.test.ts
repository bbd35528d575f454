import { type DescMessage, fromJson, type JsonValue, toJson } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { services } from '../../src/handlers/index.ts';
import { validate } from '../../src/server/pipeline/validate.ts';
import { bent } from '../harness/fuzz-bends.ts';
import { type Json, requestOf } from '../harness/fuzz-values.ts';
import { schemaFor } from '../harness/openapi.ts';

const RUNS = 60;
const SEED = 20_260_901;

/** What the document has no word for: texts that cannot be stored, bytes that are no base64, times and durations out of their range, depth. */
const UNSAID = /NUL or half a surrogate|invalid UTF8|base64|[Dd]uration|Timestamp|nested|recursion|or equal to \d+s/;

/** The message that the server reads of JSON; else why it refuses it. */
function read(input: DescMessage, json: Json): { canonical: JsonValue } | { refused: string } {
  try {
    const message = fromJson(input, json, { ignoreUnknownFields: false });
    validate({ desc: { input } as never }, message);
    return { canonical: toJson(input, message) };
  } catch (error) {
    const { fields, message } = error as { fields?: { description: string }[]; message: string };
    return { refused: fields?.map(({ description }) => description).join() ?? message };
  }
}

describe('The document and the contract’s rules', () => {
  const methods = services.flatMap(({ service }) => service.methods);

  it.each(methods.map((method) => [method.name, method.input] as const))(
    'say the same of a request: %s',
    (_, input) => {
      const takes = schemaFor(input.name);
      const property = fc.property(bent(requestOf(input.name)), (json) => {
        const answer = read(input, json);
        if ('canonical' in answer) expect(takes(answer.canonical) || takes.errors).toBe(true);
        else if (takes(json)) expect(answer.refused).toMatch(UNSAID);
      });
      fc.assert(property, { numRuns: RUNS, seed: SEED });
    },
  );
});
