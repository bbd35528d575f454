import type { Pool } from 'pg';
import { hot } from '../../db/hot.ts';

/** Where a tenant's chain ends. */
export type ChainHead = {
  /** Of the last entry; 0: there is none. */
  sequence: number;
  /** Of the last seal, in hex; empty: there is none. */
  hash: string;
};

/** A head as people keep it elsewhere: `tenant:sequence:hash`. */
export function headText(tenantId: string, { sequence, hash }: ChainHead): string {
  return `${tenantId}:${sequence}:${hash}`;
}

/** A head that was kept elsewhere, or null where the text is none. */
export function parseHead(text: string): ({ tenantId: string } & ChainHead) | null {
  const [, tenantId, sequence, hash] = /^(.+):(\d{1,15}):([0-9a-f]{64})$/.exec(text) ?? [];
  return tenantId && sequence && hash ? { tenantId, sequence: Number(sequence), hash } : null;
}

/** The last seal of a tenant's chain. */
export async function readHead(pool: Pool, tenantId: string): Promise<ChainHead> {
  const [row] = await hot<{ last_sequence: string; hash: Buffer }>(pool, 'readAuditHead', [tenantId]);
  return row ? { sequence: Number(row.last_sequence), hash: row.hash.toString('hex') } : { sequence: 0, hash: '' };
}
