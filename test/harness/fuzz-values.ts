import fc from 'fast-check';
import { openApi } from './openapi.ts';

export type Json = string | number | boolean | null | Json[] | { [name: string]: Json };
type Schema = { [name: string]: unknown };

const MOST_DEPTH = 8;
const MOST_ITEMS = 3;
/** Stands for the id of something that exists; `Harvest` puts one in. */
const PLACE = '0'.repeat(24);

/** What breaks things. */
const NASTY_TEXTS = [
  ...[
    '',
    ' ',
    '\0',
    '\ud800',
    '\u202e',
    '🔑'.repeat(40),
    'x'.repeat(5_000),
    'null',
    '__proto__',
    'constructor',
    '../../etc',
  ],
  ...[
    "'; drop table latchkey.tenant; --",
    '#{x}',
    '{{',
    '{{a.b.c}}',
    '%00',
    '%',
    '\r\nx: y',
    '<script>',
    '\\',
    '"',
    '$',
  ],
  ...[
    '((((((((((a+)+)+)+)+)+)+)+)+)+$',
    '(',
    '[',
    '*',
    '.*',
    '^(a|a)*$',
    '9'.repeat(400),
    '-0',
    '1e400',
    'NaN',
    'Infinity',
  ],
  ...[
    'http://169.254.169.254/',
    'http://[::1]:0/',
    'http://127.0.0.1:1/',
    'http://x:99999/',
    'https://ⓔxample.com',
    'file:///etc/passwd',
  ],
  ...['$..*', '$[?@.a == 1 && (@.b || !@.c)]', '$[?length(@) > 1]', '$'.repeat(300), `$${'[*]'.repeat(200)}`, '$.a['],
  ...[
    'true',
    '1 / 0',
    'a > 10000',
    'event.data.x == null',
    `${'('.repeat(300)}1${')'.repeat(300)}`,
    '[1].map(x, [1].map(y, x/0))',
  ],
  ...[
    '{"a":1}',
    '[]',
    '-----BEGIN',
    'Bearer x',
    '0001-01-01T00:00:00Z',
    '9999-12-31T23:59:59.999999999Z',
    '315576000000s',
  ],
];
const NASTY_NUMBERS = [0, -0, -1, 1, 0.5, 1e308, 2 ** 31, -(2 ** 31) - 1, 2 ** 53, 2 ** 63, -1e-320];

function nested(depth: number, leaf: Json): Json {
  let value = leaf;
  for (let i = 0; i < depth; i++) value = i % 2 ? [value] : { a: value };
  return value;
}

export const nastyText: fc.Arbitrary<string> = fc.oneof(fc.constantFrom(...NASTY_TEXTS), fc.string({ unit: 'binary' }));

export const nastyValue: fc.Arbitrary<Json> = fc.oneof(
  nastyText,
  fc.constantFrom<Json>(...NASTY_NUMBERS, null, true, {}, [], nested(90, 1), nested(120, 'x')),
  fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<Json>,
);

/** Messages that the schema of that name mostly takes. */
export function requestOf(name: string): fc.Arbitrary<Json> {
  return arbitraryOf({ $ref: `#/components/schemas/${name}` }, 0);
}

function arbitraryOf(schema: Schema, depth: number): fc.Arbitrary<Json> {
  const { $ref, type } = schema;
  if (depth > MOST_DEPTH) return fc.constant({});
  if (typeof $ref === 'string') {
    const name = $ref.split('/').at(-1)!;
    return name === 'google.protobuf.Struct'
      ? anyObject
      : arbitraryOf(openApi.components.schemas[name] as Schema, depth + 1);
  }
  if (Array.isArray(schema.enum)) return fc.constantFrom(...(schema.enum as Json[]));
  switch (type) {
    case 'string':
      return textOf(schema);
    case 'boolean':
      return fc.boolean();
    case 'integer':
    case 'number':
      return numberOf(schema);
    case 'array':
      return listOf(schema, depth);
    case 'object':
      return schema.properties ? objectOf(schema, depth) : mapOf(schema, depth);
    default:
      return fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<Json>;
  }
}

const anyObject = fc.dictionary(fc.string({ maxLength: 8 }), fc.jsonValue({ maxDepth: 3 }), {
  maxKeys: 4,
}) as fc.Arbitrary<Json>;

function textOf({ pattern, format, minLength = 0, maxLength = 200 }: Schema): fc.Arbitrary<string> {
  const most = Math.min(Number(maxLength), 200);
  if (format === 'date-time') {
    const options = { min: new Date('2000-01-01'), max: new Date('2100-01-01'), noInvalidDate: true };
    return fc.date(options).map((date) => date.toISOString());
  }
  const id = /^\^\(?([a-z]+_)\[0-9a-hjkmnp-tv-z\]\{26\}/.exec(String(pattern))?.[1];
  if (id) return fc.integer({ min: 0, max: 99 }).map((at) => `${id}${PLACE}${String(at).padStart(2, '0')}`);
  const own =
    pattern === undefined
      ? fc.string({ minLength: Number(minLength), maxLength: Math.max(most, Number(minLength)), unit: 'grapheme' })
      : fc.stringMatching(new RegExp(String(pattern), 'u'), { maxLength: most });
  return fc.oneof({ weight: 9, arbitrary: own }, { weight: 1, arbitrary: nastyText });
}

function numberOf({ minimum = -1e6, maximum = 1e6 }: Schema): fc.Arbitrary<number> {
  return fc.integer({ min: Math.ceil(Number(minimum)), max: Math.floor(Number(maximum)) });
}

function listOf({ items, minItems = 0, maxItems = MOST_ITEMS }: Schema, depth: number): fc.Arbitrary<Json> {
  const minLength = Number(minItems);
  const maxLength = Math.max(minLength, Math.min(Number(maxItems), depth > 3 ? 1 : MOST_ITEMS));
  return fc.array(arbitraryOf(items as Schema, depth + 1), { minLength, maxLength });
}

function mapOf({ propertyNames, additionalProperties = {} }: Schema, depth: number): fc.Arbitrary<Json> {
  const names = textOf({ maxLength: 20, ...(propertyNames as Schema | undefined) });
  return fc.dictionary(names, arbitraryOf(additionalProperties as Schema, depth + 1), { maxKeys: MOST_ITEMS });
}

/** Fields that must be there, some of the others, and of those that exclude each other one. */
function objectOf({ properties, required = [], allOf = [] }: Schema, depth: number): fc.Arbitrary<Json> {
  const fields = Object.entries(properties as Record<string, Schema>);
  const demanded = new Set(required as string[]);
  const groups = (allOf as { oneOf?: { required?: string[] }[] }[]).flatMap(({ oneOf = [] }) => {
    const members = oneOf.flatMap((one) => one.required ?? []);
    return members.length > 0 ? [{ members, optional: members.length < oneOf.length }] : [];
  });
  const choice = fc.tuple(fc.array(fc.nat(7), { minLength: fields.length, maxLength: fields.length }), fc.nat());
  return choice.chain(([dice, turn]) => {
    const chosen = fields.filter(([name], at) => {
      const group = groups.find(({ members }) => members.includes(name));
      if (group) return group.members[turn % (group.members.length + (group.optional ? 1 : 0))] === name;
      return demanded.has(name) || dice[at] === 0;
    });
    return fc.record(Object.fromEntries(chosen.map(([name, schema]) => [name, arbitraryOf(schema, depth + 1)])));
  });
}

/** Ids that answers named, to be asked for again. */
export class Harvest {
  readonly #ids = new Map<string, string[]>();

  take(answer: string): void {
    for (const [id, prefix = ''] of answer.matchAll(/\b([a-z]+_)[0-9a-hjkmnp-tv-z]{26}\b/g)) {
      const known = this.#ids.get(prefix) ?? [];
      // The key that all this is done with is to stay.
      if (id.includes(PLACE) || known.length >= 100 || known.includes(id)) continue;
      this.#ids.set(prefix, [...known, id]);
    }
  }

  /** The text with ids in their places. */
  fill(text: string): string {
    return text.replace(/\b([a-z]+_)0{24}(\d\d)/g, (_, prefix: string, at: string) => {
      const known = this.#ids.get(prefix) ?? [];
      return known[Number(at) % known.length] ?? `${prefix}01jabcdefghjkmnpqrstvwxyz0`;
    });
  }
}
