import { LatchkeyError } from '../../base/error.ts';
import { databaseUnavailable, isDatabaseUnavailable } from '../../db/errors.ts';
import { hot } from '../../db/hot.ts';
import type { Call } from '../call.ts';

const MOST = 10;
const WINDOW_S = 60;

/** Takes one of the 10 tests a minute that a user has, at whichever replica. Fails with RATE_LIMITED. */
export async function takeTurn({ app, principal }: Call): Promise<void> {
  const { tenantId, userId, id } = principal;
  const values = [tenantId, 'TestConnection', userId ?? id, MOST, WINDOW_S * 1000];
  const [turn] = await hot<{ wait_ms: number }>(app.pool, 'takeTurn', values).catch((error: unknown) => {
    throw isDatabaseUnavailable(error) ? databaseUnavailable(error) : error;
  });
  if (turn!.wait_ms === 0) return;
  const metadata = { calls: String(MOST), window_s: String(WINDOW_S) };
  throw new LatchkeyError('RATE_LIMITED', { retryAfterMs: turn!.wait_ms, metadata });
}
