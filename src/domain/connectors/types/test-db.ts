import { fieldInvalid } from '../../../base/error.ts';
import type { JsonObject, JsonValue } from '../../../model/json.ts';
import { at } from '../check-values.ts';
import type { Input } from '../connector-type.ts';
import { type SimulatedResult, simulatedType } from '../simulated-type.ts';

type Cell = string | number | boolean | null;
type Row = { [column: string]: Cell };
type ColumnType = 'integer' | 'number' | 'text' | 'boolean';
type Column = { name: string; type: ColumnType; nullable: boolean };
/** The key is the first column, an integer, which is counted up where it is not given. */
type Table = { name: string; columns: Column[]; rows: Row[]; nextKey: number };
type State = { tables: Table[] };
type Result = SimulatedResult<State>;

const OPERATORS = ['=', '!=', '<', '<=', '>', '>='] as const;
type Condition = { column: string; operator: (typeof OPERATORS)[number]; value: Cell };
type Order = { column: string; descending: boolean };

const MOST_ROWS = 1_000;

const TABLE: Input = { name: 'table', types: ['string'], required: true, maxLength: 100, description: 'The table.' };
const WHERE: Input = {
  ...{ name: 'where', types: ['object', 'list'], maxItems: 20 },
  description: `Which rows: values by column, \`{"city": "Berlin"}\`, or conditions that must all hold, \`[{"column": "total", "operator": ">=", "value": 100}]\` with ${OPERATORS.join(' ')}.`,
};

export const testDb = simulatedType<State>({
  name: 'test-db',
  displayName: 'Simulated database',
  description: 'A relational database of customers, products and orders, to develop against. No SQL is taken.',
  defaultCommand: 'query',
  seed: () => ({ tables: seededTables() }),
  commands: [
    {
      ...{ name: 'test', description: 'Says that the database answers.', inputs: [] },
      run: ({ tables }) => ({ success: true, data: { tableCount: tables.length } }),
    },
    {
      name: 'query',
      description: 'Answers rows.',
      inputs: [
        TABLE,
        {
          name: 'columns',
          types: ['list'],
          items: ['string'],
          maxItems: 50,
          default: [],
          description: 'The columns to answer; none: all.',
        },
        { ...WHERE, default: {} },
        {
          name: 'orderBy',
          types: ['list'],
          items: ['string', 'object'],
          maxItems: 10,
          default: [],
          description: 'Columns to order by: `"name"`, or `{"column": "total", "direction": "desc"}`.',
        },
        {
          name: 'limit',
          types: ['integer'],
          minimum: 1,
          maximum: 1_000,
          default: 100,
          description: 'How many rows to answer at most.',
        },
        {
          name: 'offset',
          types: ['integer'],
          minimum: 0,
          maximum: 1_000,
          default: 0,
          description: 'How many rows to pass over.',
        },
      ],
      run: query,
    },
    {
      name: 'insert',
      description: 'Adds rows: all of them, or none.',
      inputs: [
        TABLE,
        {
          name: 'rows',
          types: ['object', 'list'],
          required: true,
          maxItems: 100,
          description: 'A row as values by column, or a list of rows.',
        },
      ],
      changes: true,
      run: insert,
    },
    {
      name: 'update',
      description: 'Changes rows.',
      inputs: [
        TABLE,
        { name: 'set', types: ['object'], required: true, maxItems: 50, description: 'The new values by column.' },
        { ...WHERE, required: true },
      ],
      changes: true,
      run: update,
    },
    {
      name: 'delete',
      description: 'Deletes rows.',
      inputs: [TABLE, { ...WHERE, required: true }],
      changes: true,
      run: remove,
    },
    { name: 'list-tables', description: 'Answers the tables and their columns.', inputs: [], run: listTables },
  ],
});

function query({ tables }: State, inputs: JsonObject): Result {
  const { columns, limit, offset } = inputs as { columns: string[]; limit: number; offset: number };
  const conditions = conditionsOf(inputs.where!);
  const orders = (inputs.orderBy as JsonValue[]).map(orderOf);
  const table = tableOf(tables, inputs);
  if (!table) return noTable(inputs);
  const named = [...columns, ...conditions.map(({ column }) => column), ...orders.map(({ column }) => column)];
  const failure = columnFailure(table, named);
  if (failure) return failure;
  const found = table.rows.filter((row) => meets(row, conditions)).sort((a, b) => compareRows(a, b, orders));
  const shown = columns.length > 0 ? columns : table.columns.map(({ name }) => name);
  const rows = found
    .slice(offset, offset + limit)
    .map((row) => Object.fromEntries(shown.map((column) => [column, row[column] ?? null])));
  return { success: true, data: { rows, rowCount: rows.length, total: found.length } };
}

function insert({ tables }: State, inputs: JsonObject): Result {
  const given = [inputs.rows!].flat().map((row, index) => valuesOf(row, `${at('inputs', 'rows')}[${index}]`));
  const table = tableOf(tables, inputs);
  if (!table) return noTable(inputs);
  const key = table.columns[0]!.name;
  const rows = [...table.rows];
  let { nextKey } = table;
  for (const values of given) {
    const failure = columnFailure(table, Object.keys(values));
    if (failure) return failure;
    const row = { ...emptyRow(table), ...values, [key]: values[key] ?? nextKey };
    const wrong = rowFailure(table, row, rows);
    if (wrong) return wrong;
    rows.push(row);
    nextKey = Math.max(nextKey, (row[key] as number) + 1);
  }
  if (rows.length > MOST_ROWS) return failed(`a table holds at most ${MOST_ROWS} rows`);
  const keys = rows.slice(table.rows.length).map((row) => row[key]!);
  const state = withTable(tables, { ...table, rows, nextKey });
  return { success: true, data: { rowCount: keys.length, keys }, state };
}

function update({ tables }: State, inputs: JsonObject): Result {
  const set = valuesOf(inputs.set!, at('inputs', 'set'));
  const conditions = conditionsOf(inputs.where!);
  const table = tableOf(tables, inputs);
  if (!table) return noTable(inputs);
  const named = [...Object.keys(set), ...conditions.map(({ column }) => column)];
  const failure = columnFailure(table, named);
  if (failure) return failure;
  if (Object.hasOwn(set, table.columns[0]!.name)) return failed(`column "${table.columns[0]!.name}" cannot be changed`);
  const chosen = new Set(table.rows.filter((row) => meets(row, conditions)));
  const rows = table.rows.map((row) => (chosen.has(row) ? { ...row, ...set } : row));
  const wrong = chosen.size > 0 ? typeFailure(table, { ...[...chosen][0]!, ...set }) : null;
  if (wrong) return wrong;
  return { success: true, data: { rowCount: chosen.size }, state: withTable(tables, { ...table, rows }) };
}

function remove({ tables }: State, inputs: JsonObject): Result {
  const conditions = conditionsOf(inputs.where!);
  const table = tableOf(tables, inputs);
  if (!table) return noTable(inputs);
  const failure = columnFailure(
    table,
    conditions.map(({ column }) => column),
  );
  if (failure) return failure;
  const rows = table.rows.filter((row) => !meets(row, conditions));
  return {
    success: true,
    data: { rowCount: table.rows.length - rows.length },
    state: withTable(tables, { ...table, rows }),
  };
}

function listTables({ tables }: State): Result {
  return {
    success: true,
    data: { tables: tables.map(({ name, columns, rows }) => ({ name, columns, rowCount: rows.length })) },
  };
}

function tableOf(tables: readonly Table[], { table }: JsonObject): Table | undefined {
  return tables.find(({ name }) => name === table);
}

function withTable(tables: readonly Table[], changed: Table): State {
  return { tables: tables.map((table) => (table.name === changed.name ? changed : table)) };
}

function failed(error: string): Result {
  return { success: false, error };
}

function noTable({ table }: JsonObject): Result {
  return failed(`relation "${table}" does not exist`);
}

function columnFailure({ columns }: Table, named: readonly string[]): Result | null {
  const unknown = named.find((name) => !columns.some((column) => column.name === name));
  return unknown === undefined ? null : failed(`column "${unknown}" does not exist`);
}

/** Why a row cannot be added to others. */
function rowFailure(table: Table, row: Row, others: readonly Row[]): Result | null {
  const key = table.columns[0]!.name;
  const wrong = typeFailure(table, row);
  if (wrong) return wrong;
  const taken = others.some((other) => other[key] === row[key]);
  return taken ? failed(`duplicate key value violates unique constraint "${table.name}_pkey"`) : null;
}

const IS: Record<ColumnType, (cell: Cell) => boolean> = {
  integer: Number.isSafeInteger,
  number: Number.isFinite,
  text: (cell) => typeof cell === 'string',
  boolean: (cell) => typeof cell === 'boolean',
};

function typeFailure({ columns }: Table, row: Row): Result | null {
  for (const { name, type, nullable } of columns) {
    const cell = row[name] ?? null;
    if (cell === null && !nullable) return failed(`null value in column "${name}" violates not-null constraint`);
    if (cell !== null && !IS[type](cell)) return failed(`column "${name}" is of type ${type}`);
  }
  return null;
}

function emptyRow({ columns }: Table): Row {
  return Object.fromEntries(columns.map(({ name }) => [name, null]));
}

/** NULL is equal to NULL alone, and neither less nor greater than anything. */
function meets(row: Row, conditions: readonly Condition[]): boolean {
  return conditions.every(({ column, operator, value }) => {
    const cell = row[column] ?? null;
    if (operator === '=') return cell === value;
    if (operator === '!=') return cell !== value;
    if (cell === null || value === null || typeof cell !== typeof value) return false;
    const order = compareCells(cell, value);
    return { '<': order < 0, '<=': order <= 0, '>': order > 0, '>=': order >= 0 }[operator];
  });
}

function compareRows(a: Row, b: Row, orders: readonly Order[]): number {
  for (const { column, descending } of orders) {
    const order = compareCells(a[column] ?? null, b[column] ?? null);
    if (order !== 0) return descending ? -order : order;
  }
  return 0;
}

/** NULL comes last. */
function compareCells(a: Cell, b: Cell): number {
  if (a === b) return 0;
  if (a === null || b === null) return a === null ? 1 : -1;
  return a < b ? -1 : 1;
}

/** Fails with FIELD_INVALID. */
function conditionsOf(where: JsonValue): Condition[] {
  const field = at('inputs', 'where');
  if (!Array.isArray(where))
    return Object.entries(where as JsonObject).map(([column, value]) => ({
      ...{ column, operator: '=' as const, value: cellOf(value, `${field}[${JSON.stringify(column)}]`) },
    }));
  return where.map((condition, index) => {
    const { column, operator = '=', value = null } = objectOf(condition, `${field}[${index}]`);
    if (typeof column !== 'string') throw fieldInvalid(`${field}[${index}].column`, 'is required');
    const known = OPERATORS.find((candidate) => candidate === operator);
    if (!known) throw fieldInvalid(`${field}[${index}].operator`, `must be one of ${OPERATORS.join(' ')}`);
    return { column, operator: known, value: cellOf(value, `${field}[${index}].value`) };
  });
}

function orderOf(order: JsonValue, index: number): Order {
  if (typeof order === 'string') return { column: order, descending: false };
  const field = `${at('inputs', 'orderBy')}[${index}]`;
  const { column, direction = 'asc' } = order as JsonObject;
  if (typeof column !== 'string') throw fieldInvalid(`${field}.column`, 'is required');
  if (direction !== 'asc' && direction !== 'desc') throw fieldInvalid(`${field}.direction`, 'must be asc or desc');
  return { column, descending: direction === 'desc' };
}

function valuesOf(row: JsonValue, field: string): Row {
  const values = Object.entries(objectOf(row, field));
  return Object.fromEntries(values.map(([name, value]) => [name, cellOf(value, `${field}[${JSON.stringify(name)}]`)]));
}

function objectOf(value: JsonValue, field: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value;
  throw fieldInvalid(field, 'must be of type object');
}

function cellOf(value: JsonValue, field: string): Cell {
  if (typeof value !== 'object' || value === null) return value;
  throw fieldInvalid(field, 'must be a text, a number, true, false or null');
}

function seededTables(): Table[] {
  const column = (name: string, type: ColumnType, nullable = false): Column => ({ name, type, nullable });
  const table = (name: string, columns: Column[], cells: Cell[][]): Table => ({
    ...{ name, columns, nextKey: cells.length + 1 },
    rows: cells.map((row, index) =>
      Object.fromEntries([index + 1, ...row].map((cell, at) => [columns[at]!.name, cell])),
    ),
  });
  return [
    table(
      'customers',
      [
        column('id', 'integer'),
        column('name', 'text'),
        column('email', 'text'),
        column('city', 'text', true),
        column('active', 'boolean'),
      ],
      [
        ['Acme Corp', 'orders@acme.example', 'Berlin', true],
        ['Globex', 'purchasing@globex.example', 'Paris', true],
        ['Initech', 'office@initech.example', 'Austin', true],
        ['Umbrella', 'it@umbrella.example', null, false],
        ['Stark Industries', 'supply@stark.example', 'New York', true],
      ],
    ),
    table(
      'products',
      [column('id', 'integer'), column('name', 'text'), column('price', 'number'), column('stock', 'integer')],
      [
        ['Keyboard', 79.9, 140],
        ['Mouse', 39.5, 320],
        ['Monitor', 249, 45],
        ['Docking station', 189.99, 0],
      ],
    ),
    table(
      'orders',
      [
        column('id', 'integer'),
        column('customer_id', 'integer'),
        column('status', 'text'),
        column('total', 'number'),
        column('ordered_at', 'text'),
      ],
      [
        [1, 'shipped', 319.6, '2026-01-12T09:30:00Z'],
        [2, 'shipped', 498, '2026-02-03T14:05:00Z'],
        [1, 'pending', 79.9, '2026-02-20T08:00:00Z'],
        [3, 'cancelled', 39.5, '2026-03-01T17:45:00Z'],
        [5, 'pending', 1_245, '2026-03-09T11:20:00Z'],
      ],
    ),
  ];
}
