import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter, tenantPolicy } from './tenant-policy.ts';

const TABLES = `
alter table latchkey.credential
  add column granted_generation integer not null default 1,
  add column lease_owner text not null default '',
  add column lease_until timestamptz,
  add column lease_epoch integer not null default 0,
  add column attempt_id text not null default '',
  add column attempt_time timestamptz,
  add column refresh_not_before timestamptz,
  add column refresh_due timestamptz,
  add column keepalive_due timestamptz,
  add column refresh_time timestamptz,
  add column failure_class text not null default '',
  add column failure_code text not null default '',
  add column failure_count integer not null default 0,
  add column failing_since timestamptz,
  add column expiry_warned boolean not null default false;
create index credential_by_refresh_expire_time on latchkey.credential (refresh_expire_time) where not expiry_warned;
create index credential_refresh_due on latchkey.credential (refresh_due) where refresh_due is not null;
create index credential_keepalive_due on latchkey.credential (keepalive_due) where keepalive_due is not null;
create index credential_unresolved on latchkey.credential (lease_until) where attempt_id <> '';

alter table latchkey.app_authorization add column claims_default boolean not null default false;

create table latchkey.token_generation (
  tenant_id text not null references latchkey.tenant,
  attempt_id text not null,
  connection_id text collate "C" not null,
  generation integer not null,
  epoch integer not null,
  sealed bytea not null,
  state text not null,
  create_time timestamptz not null default clock_timestamp(),
  primary key (tenant_id, attempt_id),
  foreign key (tenant_id, connection_id) references latchkey.connection (tenant_id, id) on delete cascade
);
create index token_generation_by_connection on latchkey.token_generation (tenant_id, connection_id, create_time);
create table latchkey.circuit (
  tenant_id text not null references latchkey.tenant,
  integration_id text collate "C" not null,
  failures integer not null,
  open_until timestamptz not null,
  probe_until timestamptz,
  primary key (tenant_id, integration_id),
  foreign key (tenant_id, integration_id) references latchkey.integration (tenant_id, id) on delete cascade
);
comment on table latchkey.circuit is 'Circuit breakers, one for each client at a token endpoint: after some failures in a row it is left alone for a while, then one call tries whether it is back.';
create index app_authorization_by_expire_time on latchkey.app_authorization (expire_time);
create index revocation_by_settle_time on latchkey.revocation (settle_time) where settle_time is not null;
comment on table latchkey.token_generation is 'Tokens that refreshes yielded. A candidate came after its lease was lost: never thrown away, never put over a newer one.';
`;

/**
 * The steps of a refresh that touch the database, each one round trip (refresh.md). Leases are by the clock of the database alone.
 */
const FUNCTIONS = `
-- Whether a client's token endpoint may be called now. Once its pause is over, one caller in the whole cluster tries it; the others wait for what that finds.
create function latchkey.pass_circuit(p_tenant text, p_integration text, p_lease_ms integer) returns boolean language plpgsql as $$
declare
  v latchkey.circuit%rowtype;
begin
  select * into v from latchkey.circuit where tenant_id = p_tenant and integration_id = p_integration for update;
  if not found or v.failures < 5 then
    return true;
  end if;
  if v.open_until > clock_timestamp() or v.probe_until > clock_timestamp() then
    return false;
  end if;
  update latchkey.circuit set probe_until = clock_timestamp() + p_lease_ms * interval '1 ms' where tenant_id = p_tenant and integration_id = p_integration;
  return true;
end $$;

create function latchkey.note_circuit(p_tenant text, p_connection text, p_class text) returns void language plpgsql as $$
declare
  v_integration text;
begin
  select integration_id into v_integration from latchkey.connection where tenant_id = p_tenant and id = p_connection;
  if v_integration is null or p_class in ('reauthorize', 'reauthorize_unknown') then
    -- It answered, whatever it thinks of this grant.
    delete from latchkey.circuit where tenant_id = p_tenant and integration_id = v_integration;
    return;
  end if;
  if p_class = 'committed' then
    delete from latchkey.circuit where tenant_id = p_tenant and integration_id = v_integration;
    return;
  end if;
  insert into latchkey.circuit as c (tenant_id, integration_id, failures, open_until)
    values (p_tenant, v_integration, case p_class when 'misconfigured' then 5 else 1 end, clock_timestamp() + interval '10 s')
  on conflict (tenant_id, integration_id) do update
    set failures = case p_class when 'misconfigured' then greatest(c.failures, 4) + 1 else c.failures + 1 end, probe_until = null,
        open_until = clock_timestamp() + least(60, 10 * power(2, least(greatest(c.failures - 4, 0), 10))) * interval '1 s';
end $$;

create function latchkey.claim_refresh(p_tenant text, p_connection text, p_generation integer, p_owner text, p_attempt text, p_lease_ms integer, p_force boolean)
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
         -- An attempt that a dead replica left is repeated while the provider forgives it, whatever pause it was begun in.
         and (p_force or k.attempt_id <> '' or k.refresh_not_before is null or k.refresh_not_before <= clock_timestamp())
         and latchkey.pass_circuit(p_tenant, c.integration_id, p_lease_ms)
       for update of k)
    update latchkey.credential k
       set lease_owner = p_owner, lease_until = clock_timestamp() + p_lease_ms * interval '1 ms', lease_epoch = k.lease_epoch + 1,
           attempt_id = p_attempt, attempt_time = clock_timestamp()
      from free where k.tenant_id = p_tenant and k.connection_id = free.connection_id
    returning k.lease_epoch, k.sealed, k.fields, free.attempt_id <> '' or k.failure_class = 'unresolved', k.failure_count,
      exists (select from latchkey.token_generation t where t.tenant_id = p_tenant and t.connection_id = p_connection and t.state = 'candidate' and t.generation = p_generation + 1);
end $$;

-- Where an attempt before is unresolved it stays so, and is the next to be looked at.
create function latchkey.release_refresh(p_tenant text, p_connection text, p_epoch integer, p_unresolved boolean) returns void language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  update latchkey.credential
     set lease_until = case when p_unresolved then clock_timestamp() end, lease_owner = '',
         attempt_id = case when p_unresolved then attempt_id else '' end, attempt_time = case when p_unresolved then attempt_time end
   where tenant_id = p_tenant and connection_id = p_connection and lease_epoch = p_epoch;
end $$;

create function latchkey.commit_refresh(p_tenant text, p_connection text, p_epoch integer, p_generation integer, p_attempt text, p_token json, p_sealed bytea, p_kept bytea, p_audit json, p_event json)
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

create function latchkey.record_refresh(p_tenant text, p_connection text, p_audit json, p_event json, p_outcome text) returns void language plpgsql as $$
begin
  insert into latchkey.audit_entry (tenant_id, id, actor_kind, actor_id, on_behalf_of, action, resource_type, resource_id, after, request_id, address, create_time)
    values (p_tenant, p_audit ->> 'id', 'system', '', '', p_audit ->> 'action', 'connection', p_connection, ((p_audit -> 'after')::jsonb || jsonb_build_object('outcome', p_outcome)), '', '', now());
  insert into latchkey.outbox (tenant_id, id, type, aggregate_type, aggregate_id, generation, payload, create_time)
    values (p_tenant, p_event ->> 'id', p_event ->> 'type', 'connection', p_connection, (p_event ->> 'generation')::integer, ((p_event -> 'payload')::jsonb || jsonb_build_object('outcome', p_outcome)), now());
  perform pg_notify('latchkey_changed', 'connection ' || p_tenant || ' ' || p_connection);
end $$;

create function latchkey.fail_refresh(p_tenant text, p_connection text, p_epoch integer, p_generation integer, p_failure json, p_audit json, p_event json)
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
  end if;
  perform latchkey.note_circuit(p_tenant, p_connection, p_failure ->> 'verdict');
  perform latchkey.record_refresh(p_tenant, p_connection, p_audit, p_event, p_failure ->> 'verdict');
  return true;
end $$;

create function latchkey.postpone_refresh(p_tenant text, p_connection text, p_ms integer) returns void language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  update latchkey.credential k
     set refresh_due = case when k.refresh_due is not null then clock_timestamp() + p_ms * interval '1 ms' end,
         keepalive_due = case when k.keepalive_due is not null then greatest(k.keepalive_due, clock_timestamp() + p_ms * interval '1 ms') end
   where k.tenant_id = p_tenant and k.connection_id = p_connection;
end $$;

create function latchkey.read_refresh(p_tenant text, p_connection text)
returns table (generation integer, status text, leased boolean, unresolved boolean, paused_ms integer, failure_class text, failure_code text, candidate bytea, candidate_attempt text) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query select k.generation, c.status, coalesce(k.lease_until >= clock_timestamp(), false), k.attempt_id <> '',
      greatest(0, extract(epoch from greatest(k.refresh_not_before, (select case when b.failures >= 5 then greatest(b.open_until, b.probe_until) end from latchkey.circuit b where b.tenant_id = p_tenant and b.integration_id = c.integration_id)) - clock_timestamp()) * 1000)::integer, k.failure_class, k.failure_code, t.sealed, t.attempt_id
    from latchkey.connection c
    join latchkey.credential k on k.tenant_id = c.tenant_id and k.connection_id = c.id
    left join lateral (select g.sealed, g.attempt_id from latchkey.token_generation g where g.tenant_id = p_tenant and g.connection_id = p_connection and g.state = 'candidate' and g.generation = k.generation + 1 order by g.epoch desc limit 1) t on true
    where c.tenant_id = p_tenant and c.id = p_connection;
end $$;

create function latchkey.route_expiring_grants(p_limit integer) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' as $$
  select k.tenant_id, k.connection_id from latchkey.credential k
   where not k.expiry_warned and k.refresh_expire_time < clock_timestamp() + interval '7 days' order by k.refresh_expire_time limit p_limit
$$;

create function latchkey.route_ended_authorizations(p_limit integer) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' as $$
  select a.tenant_id, a.id from latchkey.app_authorization a where a.expire_time < clock_timestamp() - interval '5 minutes'
    and (a.status in ('PENDING', 'EXCHANGING') or a.expire_time < clock_timestamp() - interval '7 days') order by a.expire_time limit p_limit
$$;

create function latchkey.route_settled_revocations(p_limit integer) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' as $$
  select r.tenant_id, r.id from latchkey.revocation r where r.settle_time < clock_timestamp() - interval '30 days' order by r.settle_time limit p_limit
$$;

create function latchkey.route_due_refreshes(p_limit integer)
returns table (tenant_id text, connection_id text, unresolved boolean, lag_ms double precision) language sql stable security definer set search_path = '' as $$
  (select k.tenant_id, k.connection_id, true, extract(epoch from clock_timestamp() - k.lease_until) * 1000
     from latchkey.credential k where k.attempt_id <> '' and k.lease_until < clock_timestamp() order by k.lease_until limit p_limit)
  union all
  (select k.tenant_id, k.connection_id, false, extract(epoch from clock_timestamp() - k.refresh_due) * 1000
     from latchkey.credential k join latchkey.connection c on c.tenant_id = k.tenant_id and c.id = k.connection_id
    where k.refresh_due <= clock_timestamp() and k.attempt_id = '' and c.status = 'ACTIVE'
      and (c.last_used_at > clock_timestamp() - interval '1 day' or k.failure_class = 'unresolved')
    order by k.refresh_due limit p_limit)
  union all
  (select k.tenant_id, k.connection_id, false, extract(epoch from clock_timestamp() - k.keepalive_due) * 1000
     from latchkey.credential k join latchkey.connection c on c.tenant_id = k.tenant_id and c.id = k.connection_id
    where k.keepalive_due <= clock_timestamp() and k.attempt_id = '' and c.status = 'ACTIVE'
      and (k.refresh_not_before is null or k.refresh_not_before <= clock_timestamp())
    order by k.keepalive_due limit p_limit)
$$;
`;

const ROUTING_FUNCTIONS = [
  'route_due_refreshes(integer)',
  'route_expiring_grants(integer)',
  'route_ended_authorizations(integer)',
  'route_settled_revocations(integer)',
];
const OURS = [
  'pass_circuit(text, text, integer)',
  'note_circuit(text, text, text)',
  'claim_refresh(text, text, integer, text, text, integer, boolean)',
  'release_refresh(text, text, integer, boolean)',
  'commit_refresh(text, text, integer, integer, text, json, bytea, bytea, json, json)',
  'record_refresh(text, text, json, json, text)',
  'fail_refresh(text, text, integer, integer, json, json, json)',
  'postpone_refresh(text, text, integer)',
  'read_refresh(text, text)',
];
const ALL = [...OURS, ...ROUTING_FUNCTIONS].map((signature) => `latchkey.${signature}`).join(', ');

const GRANTS = `
grant select, insert, update, delete on latchkey.token_generation, latchkey.circuit to latchkey_service;
revoke execute on function ${ALL} from public;
grant execute on function ${ALL} to latchkey_service;
grant select (tenant_id, connection_id, attempt_id, lease_until, refresh_due, keepalive_due, refresh_not_before, failure_class, refresh_expire_time, expiry_warned) on latchkey.credential to latchkey_router;
grant select (tenant_id, id, status, last_used_at) on latchkey.connection to latchkey_router;
grant select (status, expire_time) on latchkey.app_authorization to latchkey_router;
grant select (tenant_id, id, settle_time) on latchkey.revocation to latchkey_router;
create policy routing on latchkey.revocation for select to latchkey_router using (true);
create policy routing on latchkey.credential for select to latchkey_router using (true);
create policy routing on latchkey.connection for select to latchkey_router using (true);
${ownedByRouter(ROUTING_FUNCTIONS)}
`;

/** Leases, attempts and generations of tokens: what refreshing exactly once needs. */
export class Migration0003Refresh extends Migration {
  override name = '0003-refresh';

  override up(): void {
    for (const sql of [TABLES, FUNCTIONS, tenantPolicy('token_generation'), tenantPolicy('circuit'), GRANTS])
      this.addSql(sql);
  }
}
