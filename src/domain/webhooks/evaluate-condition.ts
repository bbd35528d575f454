import { type CelFunc, CelScalar, celEnv, celFunc, isCelError, parse, plan } from '@bufbuild/cel';
import { RE2JS } from 're2js';
import { fieldInvalid } from '../../base/error.ts';
import { TimeLimitError, withinMs } from '../../base/time-limited.ts';
import type { JsonObject, JsonValue } from '../../model/json.ts';
import { unknownVariable } from './fill-template.ts';

/** Steps that a condition may take, reckoned before it is run: some tens of ms. */
const MOST_STEPS = 1_000_000;
/** Characters of a pattern, and instructions of it times characters of a text: some tens of ms, too. */
const MOST_PATTERN_CHARS = 1_000;
const MOST_PATTERN_STEPS = 5_000_000;
/** For conditions with patterns, whose cost is not reckoned before. */
const MOST_MS = 100;
/** Characters of text that cost as much as a step. */
const TEXT_OF_A_STEP = 1_024;

type Parsed = ReturnType<typeof parse>;
type Expr = Parsed['expr'];

const ARITHMETIC: Record<string, (a: number, b: number) => number> = {
  '_+_': (a, b) => a + b,
  '_-_': (a, b) => a - b,
  '_*_': (a, b) => a * b,
  '_/_': (a, b) => a / b,
};

/** JSON does not tell 2 from 2.0, so a caller cannot know which of the two a variable is: mixed, they are doubles. */
const mixed: CelFunc[] = Object.entries(ARITHMETIC).flatMap(([name, of]) => [
  celFunc(name, [CelScalar.INT, CelScalar.DOUBLE], CelScalar.DOUBLE, (a, b) => of(Number(a), b)),
  celFunc(name, [CelScalar.DOUBLE, CelScalar.INT], CelScalar.DOUBLE, (a, b) => of(a, Number(b))),
]);

/** Its own engine for patterns backtracks. */
const env = celEnv({
  funcs: mixed,
  re2: {
    compile: (pattern) => {
      if (pattern.length > MOST_PATTERN_CHARS) throw new Error('the pattern is too long');
      const compiled = RE2JS.compile(pattern);
      const instructions = compiled.programSize();
      const test = (text: string) => {
        if (instructions * text.length > MOST_PATTERN_STEPS) throw new Error('the text is too long for the pattern');
        return compiled.matcher(text).find();
      };
      return { test };
    },
  },
});

/**
 * Whether a condition in CEL holds over variables. Whole numbers among them are integers, others doubles, and arithmetic may mix the two.
 * Fails with FIELD_INVALID where it does not parse, names an unknown variable, is not boolean, fails, or could take long.
 */
export function evaluateCondition(condition: string, variables: JsonObject): boolean {
  const parsed = parsedCondition(condition, 'condition');
  const shape = {
    nodes: 0,
    depth: 0,
    sums: 0,
    loops: 0,
    patterns: 0,
    unknown: (name: string) => unknownVariable(name, 'condition'),
  };
  measure(parsed.expr, variables, new Set(), 0, shape);
  const size = sizeOf(variables);
  // Each loop may add up what the one before has made of the variables, as often as there are sums.
  const growth = (1 + shape.sums) ** (1 + shape.loops);
  const looked = shape.nodes * (size.values + shape.nodes) ** shape.depth;
  const steps = growth * looked * (1 + size.longestText / TEXT_OF_A_STEP);
  if (steps > MOST_STEPS) throw fieldInvalid('condition', 'could take too long over these variables');
  const result = shape.patterns > 0 ? runLimited(parsed, variables) : run(parsed, variables);
  if (typeof result !== 'boolean') throw fieldInvalid('condition', 'is not true or false over these variables');
  return result;
}

/**
 * Checks a condition before there are values for its variables: that it parses, names no others, and has no loops. Patterns are limited when it is run.
 * Fails with FIELD_INVALID.
 */
export function checkCondition(condition: string, names: readonly string[], field: string): void {
  const unknown = (name: string) => fieldInvalid(field, `knows no ${name}`);
  const shape = { nodes: 0, depth: 0, sums: 0, loops: 0, patterns: 0, unknown };
  const variables = Object.fromEntries(names.map((name) => [name, null]));
  measure(parsedCondition(condition, field).expr, variables, new Set(), 0, shape);
  if (shape.loops > 0) throw fieldInvalid(field, 'has a loop');
}

function parsedCondition(condition: string, field: string): Parsed {
  try {
    return parse(condition);
  } catch {
    throw fieldInvalid(field, 'is no expression in CEL');
  }
}

/** Fails with FIELD_INVALID where it takes too long. */
function runLimited(parsed: Parsed, variables: JsonObject): unknown {
  try {
    return withinMs(MOST_MS, () => run(parsed, variables));
  } catch (error) {
    if (error instanceof TimeLimitError) throw fieldInvalid('condition', 'takes too long over these variables');
    throw error;
  }
}

/** Undefined where it fails. */
function run(parsed: Parsed, variables: JsonObject): unknown {
  try {
    const bindings = Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, celValue(value)]));
    const result = plan(env, parsed)(bindings as Parameters<ReturnType<typeof plan>>[0]);
    return isCelError(result) ? undefined : result;
  } catch {
    return undefined;
  }
}

type CelJson = string | number | bigint | boolean | null | CelJson[] | { [key: string]: CelJson };

function celValue(value: JsonValue): CelJson {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : value;
  if (Array.isArray(value)) return value.map(celValue);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, celValue(item)]));
}

const TYPE_NAMES = new Set('bool bytes double int list map null_type string type uint'.split(' '));

/** Counts nodes and how deep loops lie in one another. Fails with FIELD_INVALID for a name that is neither a variable nor bound by a loop. */
function measure(
  expr: Expr | undefined,
  variables: JsonObject,
  bound: ReadonlySet<string>,
  depth: number,
  shape: { nodes: number; depth: number; sums: number; loops: number; patterns: number; unknown(name: string): Error },
): void {
  if (!expr) return;
  shape.nodes += 1;
  shape.depth = Math.max(shape.depth, depth);
  const go = (part: Expr | undefined, names = bound, at = depth) => measure(part, variables, names, at, shape);
  const { exprKind: kind } = expr;
  switch (kind.case) {
    case 'identExpr': {
      const { name } = kind.value;
      if (!bound.has(name) && !Object.hasOwn(variables, name) && !TYPE_NAMES.has(name)) throw shape.unknown(name);
      break;
    }
    case 'selectExpr':
      go(kind.value.operand);
      break;
    case 'callExpr':
      if (kind.value.function === '_+_') shape.sums += 1;
      if (kind.value.function === 'matches') shape.patterns += 1;
      for (const part of [kind.value.target, ...kind.value.args]) go(part);
      break;
    case 'listExpr':
      for (const part of kind.value.elements) go(part);
      break;
    case 'structExpr':
      for (const { keyKind, value } of kind.value.entries) {
        if (keyKind.case === 'mapKey') go(keyKind.value);
        go(value);
      }
      break;
    case 'comprehensionExpr': {
      const { iterVar, iterVar2, accuVar, iterRange, accuInit, loopCondition, loopStep, result } = kind.value;
      const names = new Set([...bound, iterVar, iterVar2, accuVar]);
      shape.loops += 1;
      for (const part of [iterRange, accuInit]) go(part);
      for (const part of [loopCondition, loopStep]) go(part, names, depth + 1);
      go(result, names);
    }
  }
}

function sizeOf(value: JsonValue): { values: number; longestText: number } {
  const size = { values: 0, longestText: 0 };
  const visit = (part: JsonValue) => {
    size.values += 1;
    if (typeof part === 'string') size.longestText = Math.max(size.longestText, part.length);
    else if (typeof part === 'object' && part !== null) for (const item of Object.values(part)) visit(item);
  };
  visit(value);
  return size;
}
