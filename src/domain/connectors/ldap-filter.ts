/** A search filter of LDAP. */
export type LdapFilter =
  | { kind: 'and' | 'or'; parts: LdapFilter[] }
  | { kind: 'not'; part: LdapFilter }
  | { kind: 'present'; attribute: string }
  | { kind: 'equal' | 'at_least' | 'at_most'; attribute: string; value: string }
  /** What stands between the `*`, the first and the last at the ends: empty where there is nothing. */
  | { kind: 'substrings'; attribute: string; pieces: string[] };

const DEEPEST = 20;
const MOST_ITEMS = 50;
const ATTRIBUTE = /^([A-Za-z][A-Za-z0-9-]*|\d+(\.\d+)*)(;[A-Za-z0-9-]+)*$/;

/** It is no filter; says where. */
export class LdapFilterError extends Error {}

/** Reads a filter (RFC 4515), but for extensible matches. `~=` counts as `=`. Throws LdapFilterError. */
export function parseLdapFilter(text: string): LdapFilter {
  return new Parser(text).whole();
}

class Parser {
  readonly #text: string;
  #at = 0;
  #items = 0;

  constructor(text: string) {
    this.#text = text;
  }

  whole(): LdapFilter {
    const filter = this.#filter(DEEPEST);
    if (this.#at < this.#text.length) throw this.#error('something follows the filter');
    return filter;
  }

  #filter(left: number): LdapFilter {
    if (left === 0) throw this.#error(`it is nested more than ${DEEPEST} times`);
    this.#skipSpace();
    this.#take('(');
    const operator = this.#text[this.#at] ?? '';
    const filter = '&|!'.includes(operator) && operator !== '' ? this.#composed(operator, left - 1) : this.#item();
    this.#take(')');
    this.#skipSpace();
    return filter;
  }

  #composed(operator: string, left: number): LdapFilter {
    this.#at += 1;
    if (operator === '!') return { kind: 'not', part: this.#filter(left) };
    const parts: LdapFilter[] = [];
    this.#skipSpace();
    while (this.#text[this.#at] === '(') parts.push(this.#filter(left));
    // None at all is true, and false (RFC 4526).
    return { kind: operator === '&' ? 'and' : 'or', parts };
  }

  #item(): LdapFilter {
    this.#items += 1;
    if (this.#items > MOST_ITEMS) throw this.#error(`it has more than ${MOST_ITEMS} conditions`);
    const [, name = '', operator = ''] = /^([^=~<>:()]*)([~<>]?=|:)?/.exec(this.#text.slice(this.#at)) ?? [];
    const attribute = name.trim();
    if (operator === ':') throw this.#error('extensible matches are not taken');
    if (operator === '' || !ATTRIBUTE.test(attribute)) throw this.#error('a condition is expected');
    this.#at += name.length + operator.length;
    const [pattern = ''] = /^[^()\0]*/.exec(this.#text.slice(this.#at)) ?? [];
    const pieces = pattern.split('*').map((piece) => this.#value(piece));
    this.#at += pattern.length;
    if (operator === '>=' || operator === '<=') {
      if (pieces.length > 1) throw this.#error('an asterisk goes with = alone');
      return { kind: operator === '>=' ? 'at_least' : 'at_most', attribute, value: pieces[0]! };
    }
    if (pattern === '*') return { kind: 'present', attribute };
    if (pieces.length === 1) return { kind: 'equal', attribute, value: pieces[0]! };
    if (pieces.slice(1, -1).includes('')) throw this.#error('an asterisk follows another');
    return { kind: 'substrings', attribute, pieces };
  }

  #value(piece: string): string {
    if (/\\(?![0-9A-Fa-f]{2})/.test(piece)) throw this.#error('an escape is `\\` and two hexadecimal digits');
    return piece.replace(/(?:\\[0-9A-Fa-f]{2})+/g, (escapes) =>
      Buffer.from(escapes.replaceAll('\\', ''), 'hex').toString(),
    );
  }

  #take(character: string): void {
    if (this.#text[this.#at] !== character) throw this.#error(`${character} is expected`);
    this.#at += 1;
  }

  #skipSpace(): void {
    while (this.#text[this.#at] === ' ') this.#at += 1;
  }

  #error(problem: string): LdapFilterError {
    return new LdapFilterError(`is no LDAP filter: at character ${this.#at + 1}, ${problem}`);
  }
}

/** Whether an entry matches. Case does not count, nor does space around values; numbers are compared as numbers. */
export function matchesLdapFilter(filter: LdapFilter, valuesOf: (attribute: string) => readonly string[]): boolean {
  switch (filter.kind) {
    case 'and':
      return filter.parts.every((part) => matchesLdapFilter(part, valuesOf));
    case 'or':
      return filter.parts.some((part) => matchesLdapFilter(part, valuesOf));
    case 'not':
      return !matchesLdapFilter(filter.part, valuesOf);
    case 'present':
      return valuesOf(filter.attribute).length > 0;
    case 'equal':
      return valuesOf(filter.attribute).some((value) => compare(value, filter.value) === 0);
    case 'at_least':
      return valuesOf(filter.attribute).some((value) => compare(value, filter.value) >= 0);
    case 'at_most':
      return valuesOf(filter.attribute).some((value) => compare(value, filter.value) <= 0);
    case 'substrings':
      return valuesOf(filter.attribute).some((value) => hasPieces(value, filter.pieces));
  }
}

const NUMBER = /^-?\d{1,15}$/;

function compare(a: string, b: string): number {
  const [left, right] = [normal(a), normal(b)];
  if (NUMBER.test(left) && NUMBER.test(right)) return Number(left) - Number(right);
  return left === right ? 0 : left < right ? -1 : 1;
}

function hasPieces(value: string, pieces: readonly string[]): boolean {
  const text = normal(value);
  const [first = '', ...rest] = pieces.map((piece) => piece.toLowerCase());
  const last = rest.pop() ?? '';
  if (!text.startsWith(first)) return false;
  let at = first.length;
  for (const piece of rest) {
    const found = text.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return text.length - last.length >= at && text.endsWith(last);
}

function normal(text: string): string {
  return text.trim().toLowerCase();
}

/** A text as a value of a filter, in which it means itself (RFC 4515, section 3). */
export function escapeFilterValue(text: string): string {
  return text.replace(/[\\*()\0]/g, (character) => `\\${character.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
