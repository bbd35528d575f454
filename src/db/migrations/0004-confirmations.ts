import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter } from './tenant-policy.ts';

/** Mostly definitions of 0003-refresh again, changed in a place or two. Its claim_refresh stays for replicas of the version before. */
const FUNCTIONS = `
-- Has a grant that was called dead asked about once more, in the transaction of what calls for it (the job confirm_dead_grant of db/jobs.ts).
create function latchkey.confirm_grant(p_tenant text, p_connection text, p_generation integer, p_after interval) returns void language plpgsql as $$
begin
  perform graphile_worker.add_job('confirm_dead_grant', json_build_object('tenantId', p_tenant, 'id', p_connection, 'generation', p_generation),
    run_at => clock_timestamp() + p_after, max_attempts => 1000);
end $$;

-- p_due: only where it is (still) due, which another replica may have seen to since it was read.
create function latchkey.claim_refresh(p_tenant text, p_connection text, p_generation integer, p_owner text, p_attempt text, p_lease_ms integer, p_force boolean, p_due boolean)
returns table (epoch integer, sealed bytea, fields jsonb, unresolved boolean, failure_count integer, late boolean) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query
    with free as (
      select k.connection_id, k.attempt_id from latchkey.credential k join latchkey.connection c on c.tenant_id = k.tenant_id and c.id = k.connection_id
       where k.tenant_id = p_tenant and k.connection_id = p_connection and k.generation = p_generation
         -- A grant that was called dead is asked about once more, by force.
         and (c.status = 'ACTIVE' or (p_force and c.status = 'REAUTHORIZATION_REQUIRED' and k.failure_count > 0))
         and (k.lease_until is null or k.lease_until < clock_timestamp())
         and (not p_due or k.attempt_id <> '' or least(k.refresh_due, k.keepalive_due) <= clock_timestamp())
         -- An attempt that a dead replica left is repeated while the provider forgives it, whatever pause it was begun in and whoever fails beside it.
         and (p_force or k.attempt_id <> '' or k.refresh_not_before is null or k.refresh_not_before <= clock_timestamp())
         and (k.attempt_id <> '' or latchkey.pass_circuit(p_tenant, c.integration_id, p_lease_ms))
       for update of k)
    update latchkey.credential k
       set lease_owner = p_owner, lease_until = clock_timestamp() + p_lease_ms * interval '1 ms', lease_epoch = k.lease_epoch + 1,
           attempt_id = p_attempt, attempt_time = clock_timestamp()
      from free where k.tenant_id = p_tenant and k.connection_id = free.connection_id
    returning k.lease_epoch, k.sealed, k.fields, free.attempt_id <> '' or k.failure_class = 'unresolved', k.failure_count,
      exists (select from latchkey.token_generation t where t.tenant_id = p_tenant and t.connection_id = p_connection and t.state = 'candidate' and t.generation = p_generation + 1);
end $$;

create or replace function latchkey.commit_refresh(p_tenant text, p_connection text, p_epoch integer, p_generation integer, p_attempt text, p_token json, p_sealed bytea, p_kept bytea, p_audit json, p_event json)
returns text language plpgsql as $$
declare
  v_granted integer;
  v_status text;
  v_outcome text := 'committed';
begin
  perform latchkey.enter(p_tenant);
  select k.granted_generation, c.status into v_granted, v_status
    from latchkey.connection c left join latchkey.credential k on k.tenant_id = c.tenant_id and k.connection_id = c.id
   where c.tenant_id = p_tenant and c.id = p_connection for update of c;
  -- The commit before may have been acknowledged to nobody, or have been under way until now: the attempt tells.
  if exists (select from latchkey.token_generation t where t.tenant_id = p_tenant and t.attempt_id = p_attempt) then
    return 'already';
  end if;
  if v_status is null or v_status = 'REVOKED' then
    return 'gone';
  end if;
  update latchkey.credential k
     set generation = k.generation + 1, sealed = p_sealed, fields = (p_token ->> 'fields')::jsonb,
         expire_time = (p_token ->> 'expireTime')::timestamptz, refresh_expire_time = (p_token ->> 'refreshExpireTime')::timestamptz,
         lifetime_s = (p_token ->> 'lifetimeS')::integer, refresh_due = (p_token ->> 'refreshDue')::timestamptz,
         keepalive_due = (p_token ->> 'keepaliveDue')::timestamptz, refresh_time = clock_timestamp(),
         lease_until = null, lease_owner = '', attempt_id = '', attempt_time = null,
         -- A token that is over at once is no reason to ask without end.
         refresh_not_before = case when (p_token ->> 'expireTime')::timestamptz < clock_timestamp() + interval '30 s' then clock_timestamp() + interval '30 s' end,
         failure_class = '', failure_code = '', failure_count = 0, failing_since = null, expiry_warned = false
   where k.tenant_id = p_tenant and k.connection_id = p_connection and k.lease_epoch = p_epoch and k.generation = p_generation;
  if not found then
    v_outcome := case when v_granted > p_generation then 'superseded' else 'candidate' end;
    -- Another replica, which had only the token that this answer used up, was told that the grant is dead.
    if v_outcome = 'candidate' and v_status = 'REAUTHORIZATION_REQUIRED' then
      perform latchkey.confirm_grant(p_tenant, p_connection, p_generation, interval '0');
    end if;
  else
    update latchkey.token_generation t set state = 'superseded' where t.tenant_id = p_tenant and t.connection_id = p_connection and t.state in ('active', 'candidate');
    delete from latchkey.token_generation t where t.tenant_id = p_tenant and t.connection_id = p_connection and t.state <> 'active' and t.create_time < clock_timestamp() - interval '1 day';
    update latchkey.connection c
       set granted_scopes = (p_token ->> 'grantedScopes')::jsonb, missing_scopes = (p_token ->> 'missingScopes')::jsonb, status = 'ACTIVE', status_reason = ''
     where c.tenant_id = p_tenant and c.id = p_connection;
    update latchkey.integration i set last_error = '', last_error_time = null
      from latchkey.connection c where c.tenant_id = p_tenant and c.id = p_connection and i.tenant_id = p_tenant and i.id = c.integration_id and i.last_error <> '';
  end if;
  insert into latchkey.token_generation (tenant_id, attempt_id, connection_id, generation, epoch, sealed, state)
    values (p_tenant, p_attempt, p_connection, p_generation + 1, p_epoch, p_kept, case v_outcome when 'committed' then 'active' else v_outcome end);
  perform latchkey.note_circuit(p_tenant, p_connection, 'committed');
  perform latchkey.record_refresh(p_tenant, p_connection, p_audit, p_event, v_outcome);
  return v_outcome;
end $$;

create or replace function latchkey.fail_refresh(p_tenant text, p_connection text, p_epoch integer, p_generation integer, p_failure json, p_audit json, p_event json)
returns boolean language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  perform from latchkey.connection c where c.tenant_id = p_tenant and c.id = p_connection for update;
  update latchkey.credential k
     set lease_until = null, lease_owner = '', attempt_id = '', attempt_time = null, failure_class = p_failure ->> 'class', failure_code = p_failure ->> 'code',
         failure_count = k.failure_count + 1, failing_since = coalesce(k.failing_since, clock_timestamp()),
         refresh_not_before = clock_timestamp() + (p_failure ->> 'pauseMs')::integer * interval '1 ms',
         refresh_due = case when (p_failure ->> 'status') = '' then clock_timestamp() + (p_failure ->> 'pauseMs')::integer * interval '1 ms' end,
         -- While nobody knows whether the token is spent it is retried as soon as may be, although nobody uses the connection.
         keepalive_due = case when (p_failure ->> 'status') <> '' then null when p_failure ->> 'class' <> 'unresolved' then k.keepalive_due
                              else clock_timestamp() + (p_failure ->> 'pauseMs')::integer * interval '1 ms' end
   where k.tenant_id = p_tenant and k.connection_id = p_connection and k.lease_epoch = p_epoch and k.generation = p_generation;
  if not found then
    return false;
  end if;
  if (p_failure ->> 'status') <> '' then
    update latchkey.connection c set status = p_failure ->> 'status', status_reason = p_failure ->> 'reason', version = c.version + 1, update_time = now()
     where c.tenant_id = p_tenant and c.id = p_connection and c.status = 'ACTIVE';
    -- Once, a minute later: a second refusal is the last word, and finds the status as it is.
    if found then
      perform latchkey.confirm_grant(p_tenant, p_connection, p_generation, interval '1 minute');
    end if;
  end if;
  perform latchkey.note_circuit(p_tenant, p_connection, p_failure ->> 'verdict');
  perform latchkey.record_refresh(p_tenant, p_connection, p_audit, p_event, p_failure ->> 'verdict');
  return true;
end $$;

-- For how long the oldest attempt that has not ended has been under way, in seconds; 0: there is none.
create function latchkey.oldest_attempt_s() returns double precision language sql stable security definer set search_path = '' as $$
  select coalesce(extract(epoch from clock_timestamp() - min(k.attempt_time)), 0)::double precision from latchkey.credential k where k.attempt_id <> ''
$$;
`;

const ROUTING_FUNCTIONS = ['oldest_attempt_s()'];
const NEW = [
  'claim_refresh(text, text, integer, text, text, integer, boolean, boolean)',
  'confirm_grant(text, text, integer, interval)',
  ...ROUTING_FUNCTIONS,
]
  .map((signature) => `latchkey.${signature}`)
  .join(', ');
const GRANTS = `
revoke execute on function ${NEW} from public;
grant execute on function ${NEW} to latchkey_service;
grant select (attempt_time) on latchkey.credential to latchkey_router;
${ownedByRouter(ROUTING_FUNCTIONS)}
`;

/** Grants that were called dead are asked about again within the transaction that says so; unresolved attempts do not wait for a circuit breaker. */
export class Migration0004Confirmations extends Migration {
  override name = '0004-confirmations';

  override up(): void {
    for (const sql of [FUNCTIONS, GRANTS]) this.addSql(sql);
  }
}
