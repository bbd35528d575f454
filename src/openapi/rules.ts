import { type DescField, type DescOneof, getOption, hasOption, toJson } from '@bufbuild/protobuf';
import {
  FieldRulesSchema,
  field as fieldOption,
  oneof as oneofOption,
} from '@bufbuild/protovalidate/gen/buf/validate/validate_pb.js';
import { compact, type Json, type JsonObject } from './json.ts';

/** The rules of one kind of value, by their names in protovalidate. */
type Rules = JsonObject;

/** The rules of a field (protovalidate), in the words of JSON Schema: of the value itself, and whether it has to be there. */
export type FieldSchema = { schema: JsonObject; required: boolean };

/** What JSON Schema has no word for. The server knows it, and refuses more than the document says. */
const UNSAID = ['cel', 'celExpression', 'gtNow', 'ltNow', 'within', 'strict'];

/** Throws for a rule that it does not know: the document would say less than the contract, and nobody would notice. */
export function fieldRules(field: DescField): FieldSchema {
  if (!hasOption(field, fieldOption)) return { schema: {}, required: false };
  const { required = false, ...kinds } = toJson(FieldRulesSchema, getOption(field, fieldOption)) as JsonObject;
  return { schema: schemaOf(kinds, field.toString()), required: required === true };
}

export function isRequired(oneof: DescOneof): boolean {
  return hasOption(oneof, oneofOption) && getOption(oneof, oneofOption).required;
}

function schemaOf(kinds: Rules, where: string): JsonObject {
  const parts = Object.entries(kinds)
    .filter(([kind]) => !UNSAID.includes(kind))
    .map(([kind, rules]) => schemaOfKind(kind, rules as Rules, where));
  return Object.assign({}, ...parts);
}

function schemaOfKind(kind: string, rules: Rules, where: string): JsonObject {
  const known = Object.fromEntries(Object.entries(rules).filter(([name]) => !UNSAID.includes(name)));
  switch (kind) {
    case 'string':
      return stringSchema(known, where);
    case 'bytes':
      return bytesSchema(known, where);
    case 'enum':
      return enumSchema(known, where);
    case 'repeated':
      return listSchema(known, where);
    case 'map':
      return mapSchema(known, where);
    case 'bool':
      return constants(known, where);
    case 'duration':
      return compact({ 'x-minimum': known.gte, 'x-maximum': known.lte });
    case 'timestamp':
    case 'any':
      return {};
    default:
      return numberSchema(known, where);
  }
}

function stringSchema(
  { minLen, maxLen, len, pattern, prefix, suffix, contains, email, uri, uuid, ...rest }: Rules,
  where: string,
) {
  const patterns = [
    pattern,
    prefix === undefined ? undefined : `^${RegExp.escape(String(prefix))}`,
    suffix === undefined ? undefined : `${RegExp.escape(String(suffix))}$`,
    contains === undefined ? undefined : RegExp.escape(String(contains)),
  ].filter((one) => one !== undefined);
  const format = email ? 'email' : uri ? 'uri' : uuid ? 'uuid' : undefined;
  return compact({
    ...{ minLength: numberIn(len ?? minLen), maxLength: numberIn(len ?? maxLen), format },
    ...(patterns.length > 1 ? { allOf: patterns.map((one) => ({ pattern: one })) } : { pattern: patterns[0] }),
    ...constants(rest, where),
  });
}

/** Of base64, with or without padding. */
function bytesSchema({ minLen, maxLen, len, ...rest }: Rules, where: string): JsonObject {
  refuseUnknown(rest, where);
  const [least, most] = [numberIn(len ?? minLen), numberIn(len ?? maxLen)];
  return compact({
    minLength: least === undefined ? undefined : Math.ceil((least * 4) / 3),
    maxLength: most === undefined ? undefined : Math.ceil(most / 3) * 4,
  });
}

function numberSchema({ gt, gte, lt, lte, ...rest }: Rules, where: string): JsonObject {
  return compact({
    ...{
      minimum: numberIn(gte),
      exclusiveMinimum: numberIn(gt),
      maximum: numberIn(lte),
      exclusiveMaximum: numberIn(lt),
    },
    ...constants(rest, where),
  });
}

/** Names that are not defined cannot be said in JSON in the first place. */
function enumSchema({ definedOnly: _, ...rest }: Rules, where: string): JsonObject {
  refuseUnknown(rest, where);
  return {};
}

function listSchema({ minItems, maxItems, unique, items, ...rest }: Rules, where: string): JsonObject {
  refuseUnknown(rest, where);
  return compact({
    ...{ minItems: numberIn(minItems), maxItems: numberIn(maxItems), uniqueItems: unique },
    items: items === undefined ? undefined : schemaOf(items as Rules, where),
  });
}

function mapSchema({ minPairs, maxPairs, keys, values, ...rest }: Rules, where: string): JsonObject {
  refuseUnknown(rest, where);
  return compact({
    ...{ minProperties: numberIn(minPairs), maxProperties: numberIn(maxPairs) },
    propertyNames: keys === undefined ? undefined : schemaOf(keys as Rules, where),
    additionalProperties: values === undefined ? undefined : schemaOf(values as Rules, where),
  });
}

function constants({ const: only, in: among, notIn, ...rest }: Rules, where: string): JsonObject {
  refuseUnknown(rest, where);
  return compact({ const: only, enum: among, not: notIn === undefined ? undefined : { enum: notIn } });
}

/** 64-bit numbers come as text. */
function numberIn(value: Json | undefined): number | undefined {
  return value === undefined ? undefined : Number(value);
}

function refuseUnknown(rest: Rules, where: string): void {
  const names = Object.keys(rest);
  if (names.length > 0)
    throw new Error(`${where} has rules that src/openapi/rules.ts does not know: ${names.join(', ')}`);
}
