import { type DescField, type DescMessage, isFieldSet, type JsonValue, type Message, toJson } from '@bufbuild/protobuf';
import { FieldOptionsSchema } from '@bufbuild/protobuf/wkt';

const MASK = '[redacted]';

/** A message as JSON for the log: every field that the contract marks `debug_redact` is masked, at any depth; the whole of one that is no JSON, as with NaN in it. */
export function redacted(desc: DescMessage, message: Message): JsonValue {
  try {
    return maskMessage(desc, toJson(desc, message));
  } catch {
    return MASK;
  }
}

function maskMessage(desc: DescMessage, json: JsonValue): JsonValue {
  if (typeof json !== 'object' || json === null || Array.isArray(json) || desc.typeName.startsWith('google.protobuf.'))
    return json;
  const fields = new Map(desc.fields.map((field) => [field.jsonName, field]));
  return Object.fromEntries(Object.entries(json).map(([name, value]) => [name, maskField(fields.get(name), value)]));
}

function maskField(field: DescField | undefined, value: JsonValue): JsonValue {
  if (!field || isRedacted(field)) return MASK;
  if (!field.message) return value;
  const inner = field.message;
  if (field.fieldKind === 'list' && Array.isArray(value)) return value.map((item) => maskMessage(inner, item));
  if (field.fieldKind === 'map' && typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, maskMessage(inner, item as JsonValue)]));
  }
  return maskMessage(inner, value);
}

function isRedacted({ proto }: DescField): boolean {
  return (
    proto.options !== undefined &&
    isFieldSet(proto.options, FieldOptionsSchema.field.debugRedact) &&
    proto.options.debugRedact
  );
}
