import { fieldInvalid } from '../../base/error.ts';
import type { JsonObject, JsonValue } from '../../model/json.ts';
import { Template } from '../webhooks/fill-template.ts';
import { DEEPEST_JSON, isShallow } from './answerable.ts';
import type { Command, ConnectorResult, ConnectorType, Input, ValueType } from './connector-type.ts';

const MOST_CONFIG_BYTES = 64 * 1024;
const MOST_BYTES = 256 * 1024;
const MOST_CHARS = 4_096;
const MOST_ITEMS = 1_000;

/** What is given with an execution, and what the connector has for what is not. */
export type GivenValues = { inputs: JsonObject; config: JsonObject; stored: JsonObject; variables: JsonObject };

/** What a command is executed with, checked; `instead`: what is answered in its place. */
export type CheckedValues = { config: JsonObject; inputs: JsonObject; instead: ConnectorResult | null };

/** Checks a connector's own config: settings of its type and inputs of its commands. What holds variables is checked when it is used. Fails with FIELD_INVALID. */
export function checkConfig(type: ConnectorType, config: JsonObject): void {
  refuseLarge('config', config, MOST_CONFIG_BYTES);
  const known = [...type.settings, ...type.commands.flatMap(({ inputs }) => inputs)];
  for (const [name, value] of Object.entries(config)) {
    const field = at('config', name);
    const input = known.find((candidate) => candidate.name === name);
    if (!input) throw fieldInvalid(field, `is neither a setting of ${type.name} nor an input of its commands`);
    if (input.sensitive) throw fieldInvalid(field, 'is given with each execution, and never kept');
    if (value !== null && !hasVariables(value)) checkValue(input, value, field);
  }
}

/** The values that a command is executed with. Fails with FIELD_INVALID, which names what is wrong. */
export function checkedValues(type: ConnectorType, command: Command, given: GivenValues): CheckedValues {
  refuseLarge('config', given.config, MOST_CONFIG_BYTES);
  refuseLarge('inputs', given.inputs, MOST_BYTES);
  refuseLarge('variables', given.variables, MOST_BYTES);
  const settings = type.settings.map(({ name }) => name);
  const inputs = command.inputs.map(({ name }) => name);
  const foreign = Object.keys(given.inputs).find((name) => !inputs.includes(name));
  if (foreign !== undefined) throw fieldInvalid(at('inputs', foreign), `is no input of ${command.name}`);
  const unknown = Object.keys(given.config).find((name) => !settings.includes(name) && !inputs.includes(name));
  if (unknown !== undefined)
    throw fieldInvalid(at('config', unknown), `is neither a setting of ${type.name} nor an input of ${command.name}`);
  const template = new Template(given.variables);
  const values = valuesOf(type.settings, 'config', given, template);
  const instead = type.instead?.(values) ?? null;
  return { config: values, instead, inputs: instead ? {} : valuesOf(command.inputs, 'inputs', given, template) };
}

function valuesOf(
  inputs: readonly Input[],
  place: 'config' | 'inputs',
  given: GivenValues,
  template: Template,
): JsonObject {
  return Object.fromEntries(
    inputs.flatMap((input): [string, JsonValue][] => {
      const value = givenValue(input, place, given, template) ?? input.default ?? null;
      return value === null ? [] : [[input.name, value]];
    }),
  );
}

/** Null: it is not given. */
function givenValue(
  input: Input,
  place: 'config' | 'inputs',
  { inputs, config, stored }: GivenValues,
  template: Template,
): JsonValue {
  const { name } = input;
  const source = [inputs, config, stored].find((values) => Object.hasOwn(values, name));
  const field = at(source === undefined ? place : source === inputs ? 'inputs' : 'config', name);
  const value = source?.[name] ?? null;
  if (value === null) {
    if (input.required) throw fieldInvalid(field, 'is required');
    return null;
  }
  const filled =
    input.escape && typeof value === 'string' ? template.text(value, field, input.escape) : template.json(value, field);
  if (filled === null && input.required) throw fieldInvalid(field, 'is required');
  if (filled !== null) checkValue(input, filled, field);
  return filled;
}

const IS: Record<ValueType, (value: JsonValue) => boolean> = {
  string: (value) => typeof value === 'string',
  number: Number.isFinite,
  integer: Number.isSafeInteger,
  boolean: (value) => typeof value === 'boolean',
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  list: Array.isArray,
};

function isOneOf(types: readonly ValueType[], value: JsonValue): boolean {
  return types.some((type) => IS[type](value));
}

/** Fails with FIELD_INVALID. */
export function checkValue(input: Input, value: JsonValue, field: string): void {
  const { types, choices, items } = input;
  const maxLength = mostChars(input);
  const maxItems = mostItems(input);
  if (!isOneOf(types, value)) throw fieldInvalid(field, `must be of type ${types.join(' or ')}`);
  if (typeof value === 'number') {
    const { minimum = Number.NEGATIVE_INFINITY, maximum = Number.POSITIVE_INFINITY } = input;
    if (value < minimum) throw fieldInvalid(field, `must be at least ${minimum}`);
    if (value > maximum) throw fieldInvalid(field, `must be at most ${maximum}`);
  }
  if (typeof value === 'string') {
    if (choices && !choices.includes(value)) throw fieldInvalid(field, `must be one of ${choices.join(', ')}`);
    if (value.length > maxLength) throw fieldInvalid(field, `is longer than ${maxLength} characters`);
    if (input.required && value === '') throw fieldInvalid(field, 'is required');
  }
  if (typeof value !== 'object' || value === null) return;
  const entries = Object.entries(value);
  if (entries.length > maxItems) throw fieldInvalid(field, `holds more than ${maxItems}`);
  const wrong = items && entries.find(([, item]) => !isOneOf(items, item));
  if (wrong) throw fieldInvalid(`${field}[${JSON.stringify(wrong[0])}]`, `must be of type ${items.join(' or ')}`);
}

export function mostChars({ maxLength = MOST_CHARS }: Input): number {
  return maxLength;
}

export function mostItems({ maxItems = MOST_ITEMS }: Input): number {
  return maxItems;
}

function hasVariables(value: JsonValue): boolean {
  return JSON.stringify(value).includes('{{');
}

function refuseLarge(field: string, value: JsonObject, most: number): void {
  if (!isShallow(value)) throw fieldInvalid(field, `is nested more than ${DEEPEST_JSON} times`);
  if (Buffer.byteLength(JSON.stringify(value)) > most)
    throw fieldInvalid(field, `is larger than ${most} bytes as JSON`);
}

/** How a field of JSON is named. */
export function at(place: 'config' | 'inputs', name: string): string {
  return `${place}[${JSON.stringify(name)}]`;
}
