import { type DescEnum, type DescField, type DescMessage, type DescOneof, ScalarType } from '@bufbuild/protobuf';
import { FeatureSet_FieldPresence } from '@bufbuild/protobuf/wkt';
import { commentOf } from './comments.ts';
import { compact, type JsonObject } from './json.ts';
import { type FieldSchema, fieldRules, isRequired } from './rules.ts';

const INT32 = { type: 'integer', format: 'int32', minimum: -(2 ** 31), maximum: 2 ** 31 - 1 };
const UINT32 = { type: 'integer', minimum: 0, maximum: 2 ** 32 - 1 };
const INT64 = { type: 'string', format: 'int64', pattern: '^-?[0-9]{1,19}$' };
const UINT64 = { type: 'string', format: 'int64', pattern: '^[0-9]{1,20}$' };
const DOUBLE = { type: 'number', format: 'double' };

/** https://protobuf.dev/programming-guides/json/ */
const SCALARS: Record<ScalarType, JsonObject> = {
  [ScalarType.STRING]: { type: 'string' },
  [ScalarType.BYTES]: { type: 'string', contentEncoding: 'base64' },
  [ScalarType.BOOL]: { type: 'boolean' },
  [ScalarType.DOUBLE]: DOUBLE,
  [ScalarType.FLOAT]: { type: 'number', format: 'float' },
  [ScalarType.INT32]: INT32,
  [ScalarType.SINT32]: INT32,
  [ScalarType.SFIXED32]: INT32,
  [ScalarType.UINT32]: UINT32,
  [ScalarType.FIXED32]: UINT32,
  [ScalarType.INT64]: INT64,
  [ScalarType.SINT64]: INT64,
  [ScalarType.SFIXED64]: INT64,
  [ScalarType.UINT64]: UINT64,
  [ScalarType.FIXED64]: UINT64,
};

const WELL_KNOWN: Record<string, JsonObject> = {
  Timestamp: { type: 'string', format: 'date-time', description: 'RFC 3339, as `2027-01-31T12:00:00Z`.' },
  Duration: {
    ...{ type: 'string', pattern: '^-?[0-9]{1,12}([.][0-9]{1,9})?s$' },
    description: 'Seconds with `s` at the end, as `1.5s`.',
  },
  FieldMask: { type: 'string', description: 'Paths of fields in lowerCamelCase, separated by commas.' },
  Struct: { type: 'object', description: 'Any JSON object.' },
  Value: { description: 'Any JSON value.' },
  ListValue: { type: 'array', items: {}, description: 'Any JSON list.' },
  Empty: { type: 'object' },
  Any: { type: 'object', properties: { '@type': { type: 'string' } }, required: ['@type'] },
  DoubleValue: DOUBLE,
  FloatValue: { type: 'number', format: 'float' },
  Int64Value: INT64,
  UInt64Value: UINT64,
  Int32Value: INT32,
  UInt32Value: UINT32,
  BoolValue: { type: 'boolean' },
  StringValue: { type: 'string' },
  BytesValue: { type: 'string', contentEncoding: 'base64' },
};

/** The schemas of messages and enums, each named once and referred to elsewhere. */
export class Schemas {
  readonly #named = new Map<string, JsonObject>();
  /** Messages that requests hold: unknown fields are refused there. */
  readonly #strict = new Set<DescMessage>();

  /** Says of messages that callers send them; before anything is referred to. */
  expectIn(message: DescMessage): void {
    if (this.#strict.has(message)) return;
    this.#strict.add(message);
    for (const field of message.fields) if (field.message) this.expectIn(field.message);
  }

  /** A reference to the schema of a message or an enum. */
  refer(desc: DescMessage | DescEnum): JsonObject {
    const name = desc.typeName.replace('latchkey.v1.', '');
    if (!this.#named.has(name)) {
      this.#named.set(name, {});
      this.#named.set(name, desc.kind === 'message' ? this.#message(desc) : enumSchema(desc));
    }
    return { $ref: `#/components/schemas/${name}` };
  }

  /** All that was referred to, by name. */
  all(): JsonObject {
    return Object.fromEntries([...this.#named].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  #message(message: DescMessage): JsonObject {
    if (message.typeName.startsWith('google.protobuf.')) return wellKnown(message);
    const properties: JsonObject = {};
    const required: string[] = [];
    for (const field of message.fields) {
      const rules = fieldRules(field);
      properties[field.jsonName] = this.#field(field, rules);
      if (isDemanded(field, rules)) required.push(field.jsonName);
    }
    return compact({
      ...{ type: 'object', description: commentOf(message) || undefined, properties },
      required: required.length > 0 ? required : undefined,
      additionalProperties: this.#strict.has(message) ? false : undefined,
      allOf: message.oneofs.length > 0 ? message.oneofs.map(oneofSchema) : undefined,
    });
  }

  #field(field: DescField, { schema, required }: FieldSchema): JsonObject {
    const description = commentOf(field) || undefined;
    const deprecated = field.proto.options?.deprecated || undefined;
    const secret = field.proto.options?.debugRedact || undefined;
    const about = compact({ description, deprecated, 'x-secret': secret });
    if (field.fieldKind === 'list') {
      const { items = {}, ...own } = schema;
      return { type: 'array', items: { ...this.#item(field), ...(items as JsonObject) }, ...own, ...about };
    }
    if (field.fieldKind === 'map') {
      const { additionalProperties = {}, ...own } = schema;
      const values = { ...this.#item(field), ...(additionalProperties as JsonObject) };
      return { type: 'object', additionalProperties: values, ...own, ...about };
    }
    return { ...this.#item(field), ...schema, ...(required ? nonzero(field) : {}), ...about };
  }

  /** Of the value, or of each in a list or map. */
  #item({ message, enum: named, scalar }: DescField): JsonObject {
    const desc = message ?? named;
    return desc ? this.refer(desc) : SCALARS[scalar!];
  }
}

function wellKnown({ name, typeName }: DescMessage): JsonObject {
  const schema = WELL_KNOWN[name];
  if (!schema) throw new Error(`src/openapi/schema.ts does not know ${typeName}`);
  return schema;
}

function enumSchema(desc: DescEnum): JsonObject {
  const lines = desc.values.map((value) => `- \`${value.name}\`: ${commentOf(value)}`);
  return {
    ...{ type: 'string', enum: desc.values.map((value) => value.name) },
    description: [commentOf(desc), '', ...lines].join('\n').trim(),
  };
}

/** One of the members, or at most one. */
function oneofSchema(oneof: DescOneof): JsonObject {
  const each = oneof.fields.map(({ jsonName }) => ({ required: [jsonName] }));
  const title = oneof.name;
  const description = commentOf(oneof) || undefined;
  return compact({ title, description, oneOf: isRequired(oneof) ? each : [...each, { not: { anyOf: each } }] });
}

/** A field that is required and cannot tell absence from its zero must not be that. */
function nonzero({ presence, scalar, enum: named }: DescField): JsonObject {
  if (presence !== FeatureSet_FieldPresence.IMPLICIT) return {};
  if (named) return { not: { const: named.values[0]!.name } };
  return scalar === ScalarType.STRING || scalar === ScalarType.BYTES ? { minLength: 1 } : { not: { const: 0 } };
}

/** Whether a request without the field is refused: where it must be there, or where what it is without being said breaks its rules. */
function isDemanded(field: DescField, { schema, required }: FieldSchema): boolean {
  if (field.oneof) return false;
  if (required) return true;
  if (field.fieldKind === 'list') return Number(schema.minItems ?? 0) > 0;
  if (field.fieldKind === 'map') return Number(schema.minProperties ?? 0) > 0;
  return field.presence === FeatureSet_FieldPresence.IMPLICIT && refusesZero(field, schema);
}

function refusesZero({ scalar }: DescField, schema: JsonObject): boolean {
  if (scalar === ScalarType.STRING) {
    const patterns = [schema, ...((schema.allOf as JsonObject[] | undefined) ?? [])].map(({ pattern }) => pattern);
    const unmatched = patterns.some((pattern) => pattern !== undefined && !new RegExp(String(pattern), 'u').test(''));
    return unmatched || Number(schema.minLength ?? 0) > 0 || schema.format !== undefined;
  }
  const { minimum = 0, exclusiveMinimum = -1, maximum = 0, exclusiveMaximum = 1 } = schema;
  return Number(minimum) > 0 || Number(exclusiveMinimum) >= 0 || Number(maximum) < 0 || Number(exclusiveMaximum) <= 0;
}
