import { create, type DescMessage, getOption, hasOption, isMessage, type Message } from '@bufbuild/protobuf';
import { createValidator, type Violation } from '@bufbuild/protovalidate';
import { field as fieldRules, oneof as oneofRules } from '../../../gen/buf/validate/validate_pb.ts';
import { LatchkeyError, StartError } from '../../base/error.ts';
import type { Method } from './method.ts';

/** Patterns come from the contract alone, and none of them backtracks: the platform's engine is as safe as RE2 here, and much faster. */
const patterns = new Map<string, RegExp>();
const validator = createValidator({
  regexMatch(pattern, text) {
    const known = patterns.get(pattern) ?? new RegExp(pattern, 'u');
    patterns.set(pattern, known);
    return known.test(text);
  },
});

/** Fails with FIELD_INVALID, naming each field that breaks its rules. */
export function validate({ desc }: Pick<Method, 'desc'>, request: Message): void {
  if (!isStorable(request)) {
    const unstorable = unstorableText(request, '') ?? '';
    throw new LatchkeyError('FIELD_INVALID', {
      fields: [{ field: unstorable, description: 'holds a NUL or half a surrogate pair' }],
    });
  }
  const result = validator.validate(desc.input, request);
  if (result.kind === 'valid') return;
  if (result.kind === 'error') throw result.error;
  throw new LatchkeyError('FIELD_INVALID', { fields: result.violations.map(faultOf) });
}

function faultOf(violation: Violation) {
  return { field: pathOf(violation), description: violation.message };
}

function pathOf({ field }: Violation): string {
  let path = '';
  for (const part of field) {
    if (part.kind === 'field' || part.kind === 'oneof') path += `${path && '.'}${part.name}`;
    else if (part.kind === 'list_sub') path += `[${part.index}]`;
    else if (part.kind === 'map_sub') path += `[${JSON.stringify(String(part.key))}]`;
  }
  return path;
}

/** Compiles the rules of all requests ahead of the first call. Throws StartError for a rule that the runtime does not know or cannot compile. */
export function warmValidation(methods: readonly Method[]): void {
  const seen = new Set<DescMessage>();
  for (const { desc } of methods) {
    refuseUnknownRules(desc.input, seen);
    const result = validator.validate(desc.input, create(desc.input));
    if (result.kind === 'error')
      throw new StartError(`the rules of ${desc.input.typeName} cannot be run: ${result.error.message}`);
  }
}

function refuseUnknownRules(message: DescMessage, seen: Set<DescMessage>): void {
  if (seen.has(message)) return;
  seen.add(message);
  for (const oneof of message.oneofs)
    if (hasOption(oneof, oneofRules)) refuseUnknown(getOption(oneof, oneofRules), oneof.name);
  for (const field of message.fields) {
    if (hasOption(field, fieldRules)) refuseUnknown(getOption(field, fieldRules), `${message.typeName}.${field.name}`);
    if (field.message) refuseUnknownRules(field.message, seen);
  }
}

function refuseUnknown(rules: Message, where: string): void {
  if (rules.$unknown && rules.$unknown.length > 0)
    throw new StartError(`${where} has a validation rule that is not known`);
  for (const value of Object.values(rules)) {
    const inner = isOneofValue(value) ? value.value : value;
    if (isMessage(inner)) refuseUnknown(inner, where);
  }
}

function isOneofValue(value: unknown): value is { case: string; value: unknown } {
  return typeof value === 'object' && value !== null && 'case' in value && 'value' in value;
}

/** Whether PostgreSQL can store every text in it. */
function isStorable(value: unknown): boolean {
  if (typeof value === 'string') return !value.includes('\0') && value.isWellFormed();
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return true;
  for (const key in value) if (!isStorable(key) || !isStorable((value as Record<string, unknown>)[key])) return false;
  return true;
}

/** Path of a text that PostgreSQL cannot store, in messages, lists, maps and JSON alike; null where there is none. */
function unstorableText(value: unknown, path: string): string | null {
  if (typeof value === 'string') return isStorable(value) ? null : path;
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return null;
  const isMessage = '$typeName' in value;
  for (const [key, part] of Object.entries(value)) {
    if (key === '$typeName') continue;
    const oneof = isMessage && isOneofValue(part) ? part : null;
    const name = snakeCase(oneof?.case ?? key);
    const subscript = Array.isArray(value) ? key : JSON.stringify(key);
    const at = isMessage ? `${path}${path && '.'}${name}` : `${path}[${subscript}]`;
    const found = unstorableText(key, path) ?? unstorableText(oneof ? oneof.value : part, at);
    if (found !== null) return found;
  }
  return null;
}

function snakeCase(localName: string): string {
  return localName.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
