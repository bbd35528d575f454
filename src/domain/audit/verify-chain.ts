import type { PoolClient } from 'pg';
import { sameHash } from '../../crypto/constant-time.ts';
import type { AuditKeys } from '../call.ts';
import { isOurAuditId } from './audit-id.ts';
import type { ChainHead } from './chain-head.ts';
import { entryHash, GONE, HASH_BYTES, NO_HASH, type StoredEntry, sealHash } from './seal.ts';

export type ChainFault = {
  /** Place in the chain; null: it has none. */
  sequence: number | null;
  /** Empty: no one entry. */
  entryId: string;
  what: 'altered' | 'removed' | 'inserted' | 'reordered';
  /** What was found, for people. */
  detail: string;
};

export type ChainReport = {
  tenantId: string;
  head: ChainHead;
  /** Entries of the chain that were there before it was: sealed as they were found. */
  adopted: number;
  /** Entries that wait to be sealed, and for how long the oldest has. */
  unsealed: { entries: number; oldestS: number };
  /** In the order of the chain; `MOST_FAULTS` at most. */
  faults: ChainFault[];
};

type SealRow = {
  first_sequence: string;
  last_sequence: string;
  entry_ids: string[];
  entry_hashes: Buffer;
  previous_hash: Buffer;
  hash: Buffer;
  adopted: boolean;
  time_us: string;
};

const SEALS_READ = 50;
const ENTRIES_READ = 5_000;
const MOST_FAULTS = 100;

/**
 * Proves a tenant's chain against its entries and against heads that were kept elsewhere; reads as the service does, in one snapshot.
 * @param heads of the tenant; without one, a chain of which the end was cut off, entries and seals, is whole
 */
export async function verifyChain(
  client: PoolClient,
  keys: AuditKeys,
  tenantId: string,
  heads: readonly ChainHead[],
): Promise<ChainReport> {
  await client.query('begin isolation level repeatable read read only');
  try {
    await client.query('select latchkey.enter($1)', [tenantId]);
    const chain = new ChainCheck(keys, tenantId, heads);
    for (let after = '-1'; ; ) {
      const { rows } = await client.query<SealRow>(
        'select *, (extract(epoch from seal_time) * 1000000)::bigint::text as time_us from latchkey.audit_seal where tenant_id = $1 and first_sequence > $2 order by first_sequence limit $3',
        [tenantId, after, SEALS_READ],
      );
      for (const group of groupsOf(rows)) {
        const ids = group.flatMap((row) => row.entry_ids);
        const entries = await readEntries(client, tenantId, ids);
        for (const row of group) chain.next(row, entries);
      }
      if (rows.length < SEALS_READ) break;
      after = rows.at(-1)!.first_sequence;
    }
    chain.end();
    const { head, adopted } = chain;
    const faults = [...chain.faults, ...(await strayEntries(client, tenantId))].slice(0, MOST_FAULTS);
    return { tenantId, head, adopted, unsealed: await unsealedTail(client, tenantId), faults };
  } finally {
    await client.query('rollback');
  }
}

/** Seals of a few entries are looked at together, so that small ones cost no statement each. */
function* groupsOf(rows: readonly SealRow[]): Generator<SealRow[]> {
  let group: SealRow[] = [];
  let entries = 0;
  for (const row of rows) {
    group.push(row);
    entries += row.entry_ids.length;
    if (entries < ENTRIES_READ) continue;
    yield group;
    [group, entries] = [[], 0];
  }
  yield group;
}

async function readEntries(client: PoolClient, tenantId: string, ids: string[]): Promise<Map<string, StoredEntry>> {
  const sql = 'select * from latchkey.read_audit_entries($1, $2)';
  const { rows } = await client.query<StoredEntry>(sql, [tenantId, ids]);
  return new Map(rows.map((row) => [row.id, row]));
}

/** Entries that are in no seal though they do not wait for one, and those that are in two. */
async function strayEntries(client: PoolClient, tenantId: string): Promise<ChainFault[]> {
  const { rows } = await client.query<{ id: string; seals: string }>(
    `with sealed as (
       select u.id, count(*) as seals from latchkey.audit_seal s cross join lateral unnest(s.entry_ids) u(id) where s.tenant_id = $1 group by u.id
     ), waiting as (
       select u.id from latchkey.audit_unsealed q cross join lateral unnest(q.entry_ids) u(id) where q.tenant_id = $1
     )
     select e.id, 0 as seals from latchkey.audit_entry e where e.tenant_id = $1
        and not exists (select from sealed s where s.id = e.id) and not exists (select from waiting w where w.id = e.id)
     union all select s.id, s.seals from sealed s where s.seals > 1
     order by 1 limit $2`,
    [tenantId, MOST_FAULTS],
  );
  return rows.map(({ id, seals }) => {
    const detail = Number(seals) > 1 ? `sealed ${seals} times` : 'in no seal, and it does not wait for one';
    return { sequence: null, entryId: id, what: 'inserted', detail };
  });
}

async function unsealedTail(client: PoolClient, tenantId: string): Promise<ChainReport['unsealed']> {
  const { rows } = await client.query<{ entries: string; oldest_s: number }>(
    `select coalesce(sum(entries), 0) as entries, coalesce(extract(epoch from clock_timestamp() - min(queue_time)), 0)::float8 as oldest_s
       from latchkey.audit_unsealed where tenant_id = $1`,
    [tenantId],
  );
  return { entries: Number(rows[0]!.entries), oldestS: rows[0]!.oldest_s };
}

/** Goes along a chain, seal by seal. */
class ChainCheck {
  readonly #keys: AuditKeys;
  readonly #tenantId: string;
  readonly #heads: Map<number, string>;
  readonly faults: ChainFault[] = [];
  head: ChainHead = { sequence: 0, hash: '' };
  adopted = 0;

  constructor(keys: AuditKeys, tenantId: string, heads: readonly ChainHead[]) {
    this.#keys = keys;
    this.#tenantId = tenantId;
    this.#heads = new Map(heads.map(({ sequence, hash }) => [sequence, hash]));
  }

  next(row: SealRow, entries: ReadonlyMap<string, StoredEntry>): void {
    const [first, last] = [Number(row.first_sequence), Number(row.last_sequence)];
    const [firstId = ''] = row.entry_ids;
    const expected = this.head.sequence + 1;
    const previous = this.head.hash ? Buffer.from(this.head.hash, 'hex') : NO_HASH;
    if (first > expected) this.#fault(expected, '', 'removed', `the chain has nothing from here to ${first - 1}`);
    else if (first < expected) this.#fault(first, firstId, 'reordered', 'two seals have this place');
    else if (!sameHash(row.previous_hash, previous))
      this.#fault(first, firstId, 'reordered', 'its seal does not follow the one before');
    const before = this.faults.length;
    for (const [place, id] of row.entry_ids.entries()) this.#checkEntry(row, first + place, place, entries.get(id));
    if (this.faults.length === before && !this.#isWhole(row, first, last))
      this.#fault(first, firstId, 'altered', `the seal of ${first} to ${last} was altered`);
    if (row.adopted) this.adopted += row.entry_ids.length;
    this.head = { sequence: last, hash: row.hash.toString('hex') };
    const kept = this.#heads.get(last);
    if (kept === undefined) return;
    this.#heads.delete(last);
    if (kept !== this.head.hash) this.#fault(last, '', 'altered', 'not the chain of which this head was kept');
  }

  end(): void {
    for (const [sequence] of this.#heads) {
      const cut = sequence > this.head.sequence;
      if (cut)
        this.#fault(this.head.sequence + 1, '', 'removed', `the chain ends here; a head at ${sequence} was kept`);
      else this.#fault(sequence, '', 'altered', 'no seal ends here, where a head was kept');
    }
  }

  #checkEntry(row: SealRow, sequence: number, place: number, entry: StoredEntry | undefined): void {
    const id = row.entry_ids[place]!;
    const sealed = row.entry_hashes.subarray(place * HASH_BYTES, (place + 1) * HASH_BYTES);
    const gone = sealed.equals(GONE);
    if (!entry) this.#fault(sequence, id, 'removed', gone ? 'gone before it was sealed' : 'there is no such entry');
    else if (gone) this.#fault(sequence, id, 'inserted', 'not there when it was sealed');
    else if (!row.adopted && !isOurAuditId(this.#keys, this.#tenantId, id))
      this.#fault(sequence, id, 'inserted', 'not written by Latchkey');
    else if (!entryHash(this.#tenantId, entry).equals(sealed))
      this.#fault(sequence, id, 'altered', 'not what was sealed');
    else if (place > 0 && id <= row.entry_ids[place - 1]!) this.#fault(sequence, id, 'reordered', 'not in its place');
  }

  #isWhole(row: SealRow, firstSequence: number, last: number): boolean {
    const { entry_ids: entryIds, entry_hashes: entryHashes, previous_hash: previousHash, adopted } = row;
    const counted = last - firstSequence + 1 === entryIds.length && entryHashes.length === entryIds.length * HASH_BYTES;
    const seal = { firstSequence, entryIds, entryHashes, previousHash, adopted, timeUs: row.time_us };
    return counted && sameHash(sealHash(this.#keys.seals, { tenantId: this.#tenantId, ...seal }), row.hash);
  }

  #fault(sequence: number, entryId: string, what: ChainFault['what'], detail: string): void {
    if (this.faults.length < MOST_FAULTS) this.faults.push({ sequence, entryId, what, detail });
  }
}
