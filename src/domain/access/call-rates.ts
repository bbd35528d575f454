import type { Rate } from '../../base/shared-bucket.ts';
import type { StoredLimits, StoredRate } from '../../model/tenant.ts';
import type { CallRates, ToolApp } from '../call.ts';

/** How many calls a caller and their tenant may make; null: any number. `own` is of the caller's API key, where it has one. */
export function callRates({ config }: ToolApp, limits: StoredLimits, own: StoredRate | null): CallRates | null {
  const { perTenant, perCaller } = config.callRates;
  const each = own ?? limits.calls_of_each;
  const tenant = limits.calls ? rateOf(limits.calls) : perTenant;
  const caller = each ? rateOf(each) : perCaller;
  return tenant || caller ? { tenant, caller } : null;
}

function rateOf({ per_second: perSecond, burst }: StoredRate): Rate | null {
  return perSecond === 0 ? null : { perSecond, burst: burst || perSecond };
}
