import { fieldInvalid, type LatchkeyError } from '../../base/error.ts';
import { member } from '../../base/json-pointer.ts';
import type { JsonObject, JsonValue } from '../../model/json.ts';

const WHOLE = /^\{\{([^{}]*)\}\}$/;
const PATH = /^\s*([\p{L}_][\p{L}\p{N}_-]*(?:\.[\p{L}\p{N}_-]+)*)\s*$/u;
/** Of everything that is filled in for one request. */
const MOST_FILLED_CHARS = 256 * 1024;

/** FIELD_INVALID that names a variable which is not there. */
export function unknownVariable(path: string, where: string): LatchkeyError {
  return fieldInvalid(`variables[${JSON.stringify(path)}]`, `is not given and ${where} refers to it`);
}

/** Fills in variables, `{{customer.name}}`, and counts what it fills in. What is filled in is not looked through again. */
export class Template {
  readonly #variables: JsonObject;
  #filledChars = 0;

  constructor(variables: JsonObject) {
    this.#variables = variables;
  }

  /**
   * A document with its texts filled: one that is exactly one variable becomes the variable's value, with its type; within a longer text stands the
   * value's text, or its JSON. Member names stay as they are. Fails with FIELD_INVALID.
   */
  json(document: JsonValue, field: string): JsonValue {
    if (typeof document === 'string') {
      const whole = WHOLE.exec(document);
      return whole ? this.#value(whole[1]!, field) : this.text(document, field, (text) => text);
    }
    if (Array.isArray(document)) return document.map((item) => this.json(item, field));
    if (typeof document !== 'object' || document === null) return document;
    return Object.fromEntries(Object.entries(document).map(([name, value]) => [name, this.json(value, field)]));
  }

  /** A text with its variables filled in, each as `shown` makes it. Fails with FIELD_INVALID. */
  text(text: string, field: string, shown: (text: string) => string): string {
    return replaceMarks(text, (name) => {
      const value = this.#value(name, field);
      return shown(typeof value === 'string' ? value : JSON.stringify(value));
    });
  }

  #value(name: string, field: string): JsonValue {
    const path = PATH.exec(name)?.[1];
    if (path === undefined) throw fieldInvalid(field, 'holds braces that name no variable');
    const value = find(this.#variables, path);
    if (value === undefined) throw unknownVariable(path, field);
    this.#filledChars += typeof value === 'string' ? value.length : JSON.stringify(value).length;
    if (this.#filledChars > MOST_FILLED_CHARS)
      throw fieldInvalid(field, `grows beyond ${MOST_FILLED_CHARS} characters when it is filled in`);
    return value;
  }
}

/** Each `{{name}}` replaced. In one pass: a pattern that looks for the end of each beginning takes the square of the time. */
function replaceMarks(text: string, replaced: (name: string) => string): string {
  const parts: string[] = [];
  let at = 0;
  for (;;) {
    const start = text.indexOf('{{', at);
    const end = start < 0 ? -1 : text.indexOf('}}', start + 2);
    if (end < 0) return parts.join('') + text.slice(at);
    parts.push(text.slice(at, start), replaced(text.slice(start + 2, end)));
    at = end + 2;
  }
}

/** Sees own members and items alone. */
function find(variables: JsonObject, path: string): JsonValue | undefined {
  return path.split('.').reduce<unknown>(member, variables) as JsonValue | undefined;
}
