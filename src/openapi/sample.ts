import type { Json, JsonObject } from './json.ts';

/** Texts of which one fits most patterns. */
const TEXTS = [
  ...['example', 'https://api.example.com', '/', 'connection.created', 'connection:read'],
  ...['0190b3f5-0000-7000-8000-000000000000', '60s'],
];
/** What follows the prefix of an id. */
const ID = '01jabcdefghjkmnpqrstvwxyz0';
const MOST_DEPTH = 12;

/** The smallest value that fits a schema, to begin with when one tries a call; undefined where none is found. */
export function sampleOf(schema: JsonObject, schemas: JsonObject, depth = 0): Json | undefined {
  if (depth > MOST_DEPTH) return undefined;
  const { $ref, type } = schema;
  if (typeof $ref === 'string') return sampleOf(schemas[$ref.split('/').at(-1)!] as JsonObject, schemas, depth + 1);
  if (schema.const !== undefined) return schema.const;
  if (Array.isArray(schema.enum)) return schema.enum.at(1) ?? schema.enum[0];
  switch (type) {
    case 'string':
      return textOf(schema);
    case 'boolean':
      return true;
    case 'integer':
    case 'number':
      return Math.max(Number(schema.minimum ?? 0), 1);
    case 'array':
      return listOf(schema, schemas, depth);
    case 'object':
      return objectOf(schema, schemas, depth);
    default:
      return {};
  }
}

function listOf({ items, minItems = 0 }: JsonObject, schemas: JsonObject, depth: number): Json | undefined {
  if (Number(minItems) === 0) return [];
  const item = sampleOf(items as JsonObject, schemas, depth + 1);
  return Number(minItems) === 1 && item !== undefined ? [item] : undefined;
}

function objectOf(schema: JsonObject, schemas: JsonObject, depth: number): Json | undefined {
  const { properties = {}, required = [], allOf = [] } = schema;
  const demanded = (allOf as JsonObject[])
    .map(({ oneOf }) => oneOf as JsonObject[])
    .filter((each) => each.every((member) => Array.isArray(member.required)))
    .map(([first]) => (first!.required as string[])[0]!);
  const sample: JsonObject = {};
  for (const name of [...(required as string[]), ...demanded]) {
    const value = sampleOf((properties as Record<string, JsonObject>)[name]!, schemas, depth + 1);
    if (value === undefined) return undefined;
    sample[name] = value;
  }
  return Number(schema.minProperties ?? 0) === 0 ? sample : undefined;
}

function textOf({ pattern, format, minLength = 0 }: JsonObject): string | undefined {
  if (format === 'date-time') return '2027-01-31T12:00:00Z';
  const matcher = new RegExp(String(pattern ?? ''), 'u');
  const [, prefix = ''] = /^\^([a-z]+_)\[/.exec(String(pattern)) ?? [];
  const choices = /^\^\(([\w|]+)\)\??\$$/.exec(String(pattern))?.[1]?.split('|') ?? [];
  const texts = [...choices, ...TEXTS, `${prefix}${ID}`];
  return texts.find((text) => matcher.test(text) && text.length >= Number(minLength));
}
