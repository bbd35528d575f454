import type { CheckStatus, Health } from '../../model/connection-health.ts';

/** What checks so far say. `failures` and `successes` are those in a row. */
export type HealthState = { health: Health; failures: number; successes: number };
export type Thresholds = { failures: number; recoveries: number };

const SUCCESSES: ReadonlySet<CheckStatus> = new Set(['VALID', 'RESTRICTED']);
const FAILURES: ReadonlySet<CheckStatus> = new Set([
  'INVALID',
  'UNREACHABLE',
  'REAUTHORIZATION_REQUIRED',
  'EXPIRED',
  'MISCONFIGURED',
]);

/** The state after one more check. One that does not tell changes nothing; the first that succeeds makes what was unknown healthy. */
export function decideHealth(state: HealthState, status: CheckStatus, thresholds: Thresholds): HealthState {
  const { health } = state;
  if (SUCCESSES.has(status)) {
    const successes = state.successes + 1;
    const recovers = health === 'UNKNOWN' || (health === 'UNHEALTHY' && successes >= thresholds.recoveries);
    return { health: recovers ? 'HEALTHY' : health, failures: 0, successes };
  }
  if (!FAILURES.has(status)) return state;
  const failures = state.failures + 1;
  return { health: failures >= thresholds.failures ? 'UNHEALTHY' : health, failures, successes: 0 };
}
