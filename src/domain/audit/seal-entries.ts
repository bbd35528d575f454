import { hot } from '../../db/hot.ts';
import type { App } from '../call.ts';
import { NO_HASH, type Seal, sealHash } from './seal.ts';

type Unsealed = {
  queue_ids: string[];
  entry_ids: string[];
  adopted: boolean;
  last_sequence: string | null;
  last_hash: Buffer | null;
  last_adopted: boolean | null;
};

/** Entries to a seal; the statement that wrote the last of them may add as many as it wrote. */
const MOST_AT_ONCE = 2_000;

/** Seals the oldest entries of a tenant that wait for it. Nothing is held meanwhile: of two replicas at it, one finds the work done (`lost`). */
export async function sealEntries(
  { pool, auditKeys, clock }: App,
  tenantId: string,
): Promise<'sealed' | 'lost' | 'none'> {
  const [unsealed] = await hot<Unsealed>(pool, 'readUnsealedAudit', [tenantId, MOST_AT_ONCE]);
  if (!unsealed) return 'none';
  const entryIds = [...new Set(unsealed.entry_ids)].sort();
  const [hashed] = await hot<{ hashes: Buffer }>(pool, 'hashAuditEntries', [tenantId, entryIds]);
  const time = new Date(clock.now());
  const seal: Seal = {
    ...{ tenantId, entryIds },
    firstSequence: Number(unsealed.last_sequence ?? 0) + 1,
    entryHashes: hashed!.hashes,
    previousHash: unsealed.last_hash ?? NO_HASH,
    // What the chain has begun with is past adopting.
    adopted: unsealed.adopted && unsealed.last_adopted !== false,
    timeUs: `${time.getTime()}000`,
  };
  const [row] = await hot<{ sealed: boolean }>(pool, 'sealAudit', [
    ...[tenantId, unsealed.queue_ids, seal.firstSequence, entryIds, seal.entryHashes, seal.previousHash],
    ...[sealHash(auditKeys.seals, seal), seal.adopted, time],
  ]);
  return row!.sealed ? 'sealed' : 'lost';
}
