import type { Pool } from 'pg';

/**
 * The hot path's statements: one round trip each, prepared once a connection. Those that take a tenant run under its policies
 * (the functions themselves are in the migrations).
 */
const STATEMENTS = {
  readCredentials: 'select * from latchkey.read_credentials($1, $2)',
  readDataKey: 'select * from latchkey.read_data_key($1, $2)',
  reserveDataKey: 'select * from latchkey.reserve_data_key($1, $2, $3)',
  addDataKey: 'select latchkey.add_data_key($1, $2, $3, $4, $5)',
  appendAudit: 'select latchkey.append_audit(key, value) from jsonb_each($1)',
  routeUnsealedAudit: 'select * from latchkey.route_unsealed_audit($1)',
  readUnsealedAudit: 'select * from latchkey.read_unsealed_audit($1, $2)',
  hashAuditEntries: 'select latchkey.hash_audit_entries($1, $2) as hashes',
  readAuditHead: 'select * from latchkey.read_audit_head($1)',
  sealAudit: 'select latchkey.seal_audit($1, $2, $3, $4, $5, $6, $7, $8, $9) as sealed',
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
  joinRelay: 'select latchkey.join_relay($1, $2) as share',
  leaveRelay: 'delete from latchkey.outbox_relayer where id = $1',
  takeLanes: 'select * from latchkey.take_lanes($1, $2)',
  renewLanes: `update latchkey.outbox_relay r set position = l.position, lease_until = clock_timestamp() + $4 * interval '1 ms'
    from unnest($1::smallint[], $2::bigint[], $3::bigint[]) l (lane, position, epoch) where r.lane = l.lane and r.lease_epoch = l.epoch returning r.lane`,
  releaseLanes: `update latchkey.outbox_relay r set lease_until = null
    from unnest($1::smallint[], $2::bigint[]) l (lane, epoch) where r.lane = l.lane and r.lease_epoch = l.epoch`,
  outboxLag: 'select * from latchkey.outbox_lag()',
  reapEvents: 'select latchkey.reap_events($1, $2) as reaped',
  routeExpiredCredentials: 'select * from latchkey.route_expired_credentials($1)',
  accountIsAnothers: 'select latchkey.account_is_anothers($1, $2, $3, $4) as anothers',
  routeApiKey: 'select * from latchkey.route_api_key($1)',
  readApiKey: 'select * from latchkey.read_api_key_limits($1, $2)',
  readUser: 'select * from latchkey.read_user($1, $2)',
  routeTicket: 'select * from latchkey.route_authorization_ticket($1)',
  routeState: 'select * from latchkey.route_authorization_state($1)',
  routeInboundEndpoint: 'select * from latchkey.route_inbound_endpoint($1)',
  readInboundEndpoint: 'select * from latchkey.read_inbound_endpoint($1, $2)',
  receiveInboundMessage: 'select * from latchkey.receive_inbound_message($1, $2, $3, $4)',
  routeExpiredInboundMessages: 'select * from latchkey.route_expired_inbound_messages($1)',
  routeTenants: 'select * from latchkey.route_tenants($1, $2, $3, $4)',
  routeOverdueTenants: 'select * from latchkey.route_overdue_tenants($1, $2)',
  eraseTenantLog: 'select latchkey.erase_tenant_log($1, $2) as erased',
  acceptDeliveries: 'select latchkey.accept_deliveries(key, value) from json_each($1)',
  claimDeliveries: 'select * from latchkey.route_claim_deliveries($1, $2, $3, $4, $5, $6, $7, $8)',
  readDeliveries: 'select d.* from json_each($1) as t, latchkey.read_deliveries(t.key, t.value) as d',
  settleDeliveries:
    'select latchkey.settle_deliveries(key, value), latchkey.note_endpoints(key, value) from json_each($1)',
  routeSettledDeliveries: 'select * from latchkey.route_settled_deliveries($1, $2)',
  reapDeliveries: 'select latchkey.reap_deliveries(key, value) from json_each($1)',
  readSigningSecrets: 'select * from latchkey.read_signing_secrets($1, $2)',
  readEventEndpoint: 'select * from latchkey.read_event_endpoint($1, $2)',
  claimFanOuts: 'select * from latchkey.route_claim_fan_outs($1, $2)',
  routeFailingEndpoints: 'select * from latchkey.route_failing_endpoints($1, $2)',
  countTenants: 'select latchkey.count_tenants() as count',
  settleCalls: 'select t.key as tenant_id, s.* from jsonb_each($2) t, latchkey.settle_calls(t.key, $1, t.value) s',
  countReplicas: 'select latchkey.count_replicas($1) as count',
  reapRateBuckets: 'select latchkey.reap_rate_buckets($1)',
  takeTurn: 'select latchkey.take_turn($1, $2, $3, $4, $5) as wait_ms',
  claimCheck: 'select latchkey.claim_check($1, $2, $3) as epoch',
  postponeCheck: 'select latchkey.postpone_check($1, $2, $3, $4)',
  routeDueChecks: 'select * from latchkey.route_due_checks($1, $2)',
  routeOldRateWindows: 'select * from latchkey.route_old_rate_windows()',
  routeOldUsage: 'select * from latchkey.route_old_usage()',
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
