import type { Pool } from 'pg';
import { hot } from '../../db/hot.ts';

const BATCH = 1_000;

/** Gives committed events their positions, a batch of them, unless somebody does and `wait` is false. Answers whether there may be more. */
export async function placeEvents(pool: Pool, wait: boolean): Promise<boolean> {
  const [row] = await hot<{ placed: number }>(pool, 'placeEvents', [BATCH, wait]);
  return row!.placed === BATCH;
}
