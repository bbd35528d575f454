import type { Pool } from 'pg';

/**
 * The hot path's statements: one round trip each, prepared once a connection. Those that take a tenant run under its policies
 * (the functions themselves are in the migrations).
 */
const STATEMENTS = {
  readCredential: 'select * from latchkey.read_credential($1, $2)',
  readDataKey: 'select * from latchkey.read_data_key($1, $2)',
  reserveDataKey: 'select * from latchkey.reserve_data_key($1, $2, $3)',
  addDataKey: 'select latchkey.add_data_key($1, $2, $3, $4, $5)',
  appendAudit: 'select latchkey.append_audit(key, value) from json_each($1)',
  markUsed: 'select latchkey.mark_used($1, $2, $3)',
  claimRefresh: 'select * from latchkey.claim_refresh($1, $2, $3, $4, $5, $6, $7, $8)',
  releaseRefresh: 'select latchkey.release_refresh($1, $2, $3, $4)',
  commitRefresh: 'select latchkey.commit_refresh($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) as outcome',
  failRefresh: 'select latchkey.fail_refresh($1, $2, $3, $4, $5, $6, $7) as applied',
  postponeRefresh: 'select latchkey.postpone_refresh($1, $2, $3)',
  readRefresh: 'select * from latchkey.read_refresh($1, $2)',
  routeDueRefreshes: 'select * from latchkey.route_due_refreshes($1)',
  oldestAttempt: 'select latchkey.oldest_attempt_s() as seconds',
  routeExpiringGrants: 'select * from latchkey.route_expiring_grants($1)',
  routeEndedAuthorizations: 'select * from latchkey.route_ended_authorizations($1)',
  routeSettledRevocations: 'select * from latchkey.route_settled_revocations($1)',
  placeEvents: 'select latchkey.place_events($1, $2) as placed',
  readEvents: 'select * from latchkey.read_events($1, $2, $3)',
  readLanes: 'select * from latchkey.read_lanes($1, $2, $3) order by position',
  takeLanes: 'select * from latchkey.take_lanes($1)',
  renewLanes: `update latchkey.outbox_relay r set position = l.position, lease_until = clock_timestamp() + $4 * interval '1 ms'
    from unnest($1::smallint[], $2::bigint[], $3::bigint[]) l (lane, position, epoch) where r.lane = l.lane and r.lease_epoch = l.epoch returning r.lane`,
  releaseLanes: `update latchkey.outbox_relay r set lease_until = null
    from unnest($1::smallint[], $2::bigint[]) l (lane, epoch) where r.lane = l.lane and r.lease_epoch = l.epoch`,
  outboxLag: 'select * from latchkey.outbox_lag()',
  reapEvents: 'select latchkey.reap_events($1, $2) as reaped',
  routeExpiredCredentials: 'select * from latchkey.route_expired_credentials($1)',
  accountIsAnothers: 'select latchkey.account_is_anothers($1, $2, $3, $4) as anothers',
  routeApiKey: 'select * from latchkey.route_api_key($1)',
  readApiKey: 'select * from latchkey.read_api_key($1, $2)',
  routeTicket: 'select * from latchkey.route_authorization_ticket($1)',
  routeState: 'select * from latchkey.route_authorization_state($1)',
  routeTenants: 'select * from latchkey.route_tenants($1, $2, $3)',
  countTenants: 'select latchkey.count_tenants() as count',
} as const;

/** Runs one of the hot path's statements. */
export async function hot<Row extends object>(
  pool: Pool,
  name: keyof typeof STATEMENTS,
  values: readonly unknown[],
): Promise<Row[]> {
  const result = await pool.query<Row>({ name, text: STATEMENTS[name], values: values as unknown[] });
  return result.rows;
}
