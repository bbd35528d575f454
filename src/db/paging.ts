import { createHmac } from 'node:crypto';
import { fieldInvalid, LatchkeyError } from '../base/error.ts';
import { sameHash } from '../crypto/constant-time.ts';
import type { Em } from './transaction.ts';

const DEFAULT_PAGE_SIZE = 20;
const LARGEST_PAGE_SIZE = 100;

/** What a caller asks of a list. */
export type PageRequest = { pageSize: number; pageToken: string; skip: number; withTotalSize: boolean };
export type Page<T> = { items: T[]; nextPageToken: string; totalSize: number | undefined };

type SortValue = string | number;
/** The conditions of a list, with `?` for their parameters. */
export type Conditions = { sql: string; params: readonly unknown[] }[];

/** A column that holds this; undefined: anything; null: nothing. */
export function equals(column: string, value: string | null | undefined): Conditions {
  if (value === undefined) return [];
  return value === null ? [{ sql: `${column} is null`, params: [] }] : [{ sql: `${column} = ?`, params: [value] }];
}

/** A column that holds one of these texts. */
export function oneOf(column: string, values: readonly string[]): Conditions[number] {
  // As JSON, because MikroORM spreads an array over several parameters.
  return {
    sql: `${column} = any (array(select jsonb_array_elements_text(cast(? as jsonb))))`,
    params: [JSON.stringify(values)],
  };
}

export type ListQuery<Row> = {
  /** Name of the list, as the table. */
  table: string;
  /** What to read of a row; default all of it. */
  columns?: string;
  conditions: Conditions;
  /** Columns that order the list; the last makes it total. All go the same way, so that one index serves. `value`: SQL for a column's value by what is kept of it. */
  orderBy: readonly { column: string; cast?: string; value?: string }[];
  descending: boolean;
  /** The values of the order columns in a row, as they come back as parameters. */
  sortValues: (row: Row) => SortValue[];
};

/** Orders of lists by time and by name. */
export type TimeOrder = 'CREATE_TIME_DESC' | 'CREATE_TIME_ASC';
export type NameOrder = 'NAME_ASC' | 'NAME_DESC';

type Ordering<Row> = Pick<ListQuery<Row>, 'orderBy' | 'descending' | 'sortValues'>;

/** By id, which is the order of creation. */
export function byTime(order: TimeOrder): Ordering<{ id: string }> {
  return { orderBy: [{ column: 'id' }], descending: order === 'CREATE_TIME_DESC', sortValues: (row) => [row.id] };
}

/** By name, in byte order, then by id. */
export function byName(order: NameOrder): Ordering<{ id: string; name: string }> {
  return {
    orderBy: [{ column: 'name' }, { column: 'id' }],
    descending: order === 'NAME_DESC',
    sortValues: (row) => [row.name, row.id],
  };
}

export function byTimeOrName(order: TimeOrder | NameOrder): Ordering<{ id: string; name: string }> {
  return order === 'NAME_ASC' || order === 'NAME_DESC' ? byName(order) : byTime(order);
}

/** Page tokens: where a page ended, authenticated and bound to tenant, list, order and filters. */
export class PageTokens {
  readonly #secret: Buffer;

  constructor(secret: Buffer) {
    this.#secret = secret;
  }

  issue(scope: string, position: SortValue[]): string {
    const payload = Buffer.from(JSON.stringify(position));
    return Buffer.concat([this.#mac(scope, payload), payload]).toString('base64url');
  }

  /** Throws PAGE_TOKEN_INVALID where the token was not issued for this scope. */
  read(scope: string, token: string): SortValue[] {
    const bytes = Buffer.from(token, 'base64url');
    const payload = bytes.subarray(16);
    if (bytes.length <= 16 || !sameHash(this.#mac(scope, payload), bytes.subarray(0, 16))) {
      throw new LatchkeyError('PAGE_TOKEN_INVALID');
    }
    return JSON.parse(payload.toString()) as SortValue[];
  }

  #mac(scope: string, payload: Buffer): Buffer {
    return createHmac('sha256', this.#secret)
      .update('page token')
      .update(JSON.stringify(scope))
      .update(payload)
      .digest()
      .subarray(0, 16);
  }
}

export function pageSizeOf(requested: number): number {
  return requested === 0 ? DEFAULT_PAGE_SIZE : Math.min(requested, LARGEST_PAGE_SIZE);
}

/** One page of a tenant's rows by keyset, so that a late page costs what the first does. */
export async function listPage<Row extends object>(
  em: Em,
  tokens: PageTokens,
  tenantId: string,
  query: ListQuery<Row>,
  request: PageRequest,
): Promise<Page<Row>> {
  if (request.pageToken && request.skip > 0) throw fieldInvalid('skip', 'goes without page_token');
  const { table, orderBy, descending, conditions } = query;
  const scope = JSON.stringify([tenantId, table, orderBy.map((order) => order.column), descending, conditions]);
  const where = [{ sql: 'tenant_id = ?', params: [tenantId] as readonly unknown[] }, ...conditions];
  const paged = request.pageToken
    ? [...where, after(orderBy, descending, tokens.read(scope, request.pageToken))]
    : where;
  const size = pageSizeOf(request.pageSize);
  const order = orderBy.map(({ column }) => `${column} ${descending ? 'desc' : 'asc'}`).join(', ');
  const rows = await em.execute<Row[]>(
    `select ${query.columns ?? '*'} from latchkey.${table} where ${allOf(paged)} order by ${order} limit ${size + 1} offset ${request.pageToken ? 0 : request.skip}`,
    paged.flatMap((condition) => condition.params),
  );
  const items = rows.slice(0, size);
  const last = rows.length > size ? items.at(-1) : undefined;
  return {
    items,
    nextPageToken: last ? tokens.issue(scope, query.sortValues(last)) : '',
    totalSize: request.withTotalSize ? await count(em, table, where) : undefined,
  };
}

/**
 * One page of a list that is at hand whole, by name. Fails with PAGE_TOKEN_INVALID.
 * @param position of an item: its name, and what makes it the only one of its name
 */
export function pageOf<T>(
  tokens: PageTokens,
  list: string,
  entries: { item: T; position: [string, string] }[],
  order: NameOrder,
  { pageSize, pageToken, skip, withTotalSize }: PageRequest,
): Page<T> {
  if (pageToken && skip > 0) throw fieldInvalid('skip', 'goes without page_token');
  const scope = `${list} ${order}`;
  const sign = order === 'NAME_DESC' ? -1 : 1;
  const sorted = entries.toSorted((a, b) => sign * compare(a.position, b.position));
  const last = pageToken ? (tokens.read(scope, pageToken) as [string, string]) : null;
  const left = last ? sorted.filter(({ position }) => sign * compare(position, last) > 0) : sorted.slice(skip);
  const page = left.slice(0, pageSizeOf(pageSize));
  return {
    items: page.map(({ item }) => item),
    nextPageToken: left.length > page.length ? tokens.issue(scope, page.at(-1)!.position) : '',
    totalSize: withTotalSize ? entries.length : undefined,
  };
}

function compare([a, aId]: [string, string], [b, bId]: [string, string]): number {
  if (a !== b) return a < b ? -1 : 1;
  return aId === bId ? 0 : aId < bId ? -1 : 1;
}

function after(orderBy: ListQuery<object>['orderBy'], descending: boolean, values: SortValue[]): Conditions[number] {
  const columns = orderBy.map(({ column }) => column).join(', ');
  const placeholders = orderBy.map(({ cast, value }) => value ?? (cast ? `cast(? as ${cast})` : '?')).join(', ');
  return { sql: `(${columns}) ${descending ? '<' : '>'} (${placeholders})`, params: values };
}

async function count(em: Em, table: string, where: Conditions): Promise<number> {
  const [row] = await em.execute<{ total: string }[]>(
    `select count(*) as total from latchkey.${table} where ${allOf(where)}`,
    where.flatMap((condition) => condition.params),
  );
  return Number(row?.total ?? 0);
}

/** Conditions that must all hold. */
export function allOf(conditions: Conditions): string {
  return conditions.map((condition) => `(${condition.sql})`).join(' and ');
}
