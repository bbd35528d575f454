import { LatchkeyError } from '../../base/error.ts';
import type { App, Principal } from '../call.ts';

/** Counts a call, and refuses it where the caller or their tenant has made as many as they may. Decided at once. Fails with RATE_LIMITED. */
export function limitCalls(app: App, principal: Principal): void {
  if (!principal.rates) return;
  const refused = app.callLimits.take(principal, principal.rates);
  if (!refused) return;
  const { limit, rate, waitMs } = refused;
  const metadata = { limit, calls: String(rate.perSecond), window_s: '1' };
  throw new LatchkeyError('RATE_LIMITED', { retryAfterMs: Math.ceil(waitMs), metadata });
}
