import type { Pool } from 'pg';
import { replicasWithout } from '../db/replicas.ts';
import type { App, Dependency } from '../domain/call.ts';
import { judgeCalls } from '../domain/integrations/check-provider-health.ts';

/** What was seen of a dependency, without since when. */
export type Seen = Omit<Dependency, 'since'>;

const ANSWER_MS = 2_000;
/** A job that is due waits no longer than this for a worker, if all is well. */
const JOB_LATE_S = 60;
/** An entry is sealed within a second, if all is well. */
const SEAL_LATE_S = 30;
const PROVIDER_STATUS = { SERVING: 'up', DEGRADED: 'degraded', DOWN: 'down', UNKNOWN: 'unknown' } as const;

/** Whether the database answers in time. */
export async function seeDatabase(pool: Pool): Promise<Seen> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error('late')), ANSWER_MS);
  const startedAt = performance.now();
  try {
    await Promise.race([pool.query('select 1'), late.promise]);
    return { name: 'database', status: 'up', latencyMs: sinceMs(startedAt), detail: '' };
  } catch {
    return { name: 'database', status: 'down', latencyMs: null, detail: 'does not answer' };
  } finally {
    clearTimeout(timer);
  }
}

/** Whether due jobs are begun. */
export async function seeQueue(pool: Pool): Promise<Seen> {
  const startedAt = performance.now();
  const { rows } = await pool.query<{ late_s: number }>(
    `select coalesce(extract(epoch from clock_timestamp() - min(run_at)), 0)::float8 as late_s
       from graphile_worker.jobs where locked_at is null and attempts < max_attempts and run_at <= now()`,
  );
  const seen = { name: 'queue', latencyMs: sinceMs(startedAt) };
  const lateS = Math.round(rows[0]!.late_s);
  if (lateS <= JOB_LATE_S) return { ...seen, status: 'up', detail: '' };
  return { ...seen, status: 'degraded', detail: `a job has been due for ${lateS} s` };
}

/** Whether all replicas know the newest master key, with which this one opened the installation. */
export async function seeMasterKey(pool: Pool, newest: string): Promise<Seen> {
  const others = await replicasWithout(pool, newest);
  const seen = { name: 'master_key', latencyMs: null };
  if (others.length === 0) return { ...seen, status: 'up', detail: '' };
  return { ...seen, status: 'degraded', detail: `${others.length} replicas do not know ${newest}` };
}

/** The built-in providers, as far as this process called them. None is asked. */
export function seeProviders({ catalog, providerHealth }: App): Seen[] {
  return [...catalog.keys()].map((provider) => {
    const { status, message } = judgeCalls(providerHealth.recent(provider));
    return { name: `provider:${provider}`, status: PROVIDER_STATUS[status], latencyMs: null, detail: message };
  });
}

/** Whether the audit log is written and sealed. */
export function seeAudit({ failing }: { failing: boolean }, { lagS }: { lagS: number }): Seen {
  const seen = { name: 'audit', latencyMs: null };
  if (failing)
    return {
      ...seen,
      status: 'degraded',
      detail: 'entries cannot be written; secrets are not handed out until they can',
    };
  if (lagS > SEAL_LATE_S)
    return { ...seen, status: 'degraded', detail: `entries wait ${Math.round(lagS)} s to be sealed` };
  return { ...seen, status: 'up', detail: '' };
}

function sinceMs(startedAt: number): number {
  return Math.round((performance.now() - startedAt) * 10) / 10;
}
