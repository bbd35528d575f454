import { createHmac, hash } from 'node:crypto';

/** An audit entry as it is stored, each column as text. */
export type StoredEntry = {
  id: string;
  actor_kind: string;
  actor_id: string;
  on_behalf_of: string;
  action: string;
  resource_type: string;
  resource_id: string;
  /** As PostgreSQL writes jsonb. */
  before: string | null;
  after: string | null;
  request_id: string;
  address: string;
  /** µs since the epoch. */
  time_us: string;
};

/** Entries that were sealed at once. */
export type Seal = {
  tenantId: string;
  /** Number of the first entry in the tenant's chain, which begins with 1. */
  firstSequence: number;
  entryIds: readonly string[];
  /** The hash of each entry, one after the other. */
  entryHashes: Buffer;
  previousHash: Buffer;
  /** Whether its entries were there before the chain was. */
  adopted: boolean;
  /** µs since the epoch. */
  timeUs: string;
};

export const HASH_BYTES = 32;
/** What the first seal of a chain follows. */
export const NO_HASH = Buffer.alloc(HASH_BYTES);
/** Stands for an entry that was gone before it could be sealed. */
export const GONE = Buffer.alloc(HASH_BYTES);

/** SHA-256 of a whole entry: of each of its texts the length in characters, `:` and the text, or `-` where there is none. As hash_audit_entries has it. */
export function entryHash(tenantId: string, entry: StoredEntry): Buffer {
  const { id, actor_kind, actor_id, on_behalf_of, action, resource_type, resource_id, before, after } = entry;
  const whole = [
    ...[tenantId, id, actor_kind, actor_id, on_behalf_of, action, resource_type, resource_id, before, after],
    ...[entry.request_id, entry.address, entry.time_us],
  ];
  return hash('sha256', whole.map(delimited).join(''), 'buffer');
}

function delimited(text: string | null): string {
  return text === null ? '-' : `${[...text].length}:${text}`;
}

/** HMAC-SHA-256 of a seal and, by the hash before it, of all seals before. */
export function sealHash(key: Buffer, seal: Seal): Buffer {
  const { tenantId, firstSequence, entryIds, entryHashes, previousHash, adopted, timeUs } = seal;
  return createHmac('sha256', key)
    .update(JSON.stringify([tenantId, firstSequence, previousHash.toString('hex'), adopted, timeUs, entryIds]))
    .update(entryHashes)
    .digest();
}
