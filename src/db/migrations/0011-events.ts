import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter } from './tenant-policy.ts';

const TABLES = `
alter table latchkey.outbox
  add column seq bigint generated always as identity,
  add column position bigint,
  -- What is keyed by its type goes one way, so that it keeps its order, too.
  add column lane smallint not null generated always as (case when aggregate_type = 'integration' then 0 else (hashtextextended(tenant_id || ' ' || aggregate_id, 0) & 7)::smallint end) stored;
comment on column latchkey.outbox.seq is 'Order of writing: of one aggregate, that of the changes, which wait for one another.';
comment on column latchkey.outbox.position is 'Order of reading, given after the commit (place_events); null: not given yet.';
create sequence latchkey.outbox_position;
create index outbox_unplaced on latchkey.outbox (seq) where position is null;
create unique index outbox_by_position on latchkey.outbox (tenant_id, position) where position is not null;
create index outbox_by_lane on latchkey.outbox (lane, position) where position is not null;
create index outbox_by_seq on latchkey.outbox (tenant_id, seq);
create index outbox_by_aggregate on latchkey.outbox (tenant_id, aggregate_id, seq);
create index outbox_by_create_time on latchkey.outbox (create_time);

create table latchkey.outbox_relay (
  lane smallint primary key,
  position bigint,
  lease_until timestamptz,
  lease_epoch bigint not null default 0
);
comment on table latchkey.outbox_relay is 'How far each lane of the outbox was relayed, for all tenants; null: nothing was, and what is there by then is not. Who relays one holds its lease, by the clock of the database.';
insert into latchkey.outbox_relay (lane) select generate_series(0, 7);

alter table latchkey.credential add column expired_generation integer not null default 0;
comment on column latchkey.credential.expired_generation is 'The generation of which it was said that it expired; 0: of none.';
-- What nothing renews, or what renewing fails of.
create index credential_expiring on latchkey.credential (expire_time) where expired_generation < generation and (refresh_due is null or failing_since is not null);
`;

/** What is run all the time keeps its plan, also one that was made when the outbox was all but empty: these are made anew, or leave no choice. */
const FUNCTIONS = `
-- Gives events their positions, and says whose there are. Commits do not come in the order of sequences, so "position > last" over those would lose late ones.
-- Positions are given to what is committed, by one at a time (who does not wait for the other leaves it to it): what gets one later gets a higher one. (A horizon of snapshots would do without the update, but it
-- waits for the oldest writing transaction of the whole server, and orders by transaction ids, which are taken before locks are.)
create function latchkey.place_events(p_limit integer, p_wait boolean) returns integer language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
declare
  v record;
  v_placed integer := 0;
begin
  if p_wait then
    perform pg_advisory_xact_lock(hashtextextended('latchkey place_events', 0));
  elsif not pg_try_advisory_xact_lock(hashtextextended('latchkey place_events', 0)) then
    return 0;
  end if;
  for v in select o.tenant_id, o.seq from latchkey.outbox o where o.position is null order by o.seq limit p_limit loop
    -- By the one index that begins with it: a plan from when the table was empty could choose any that begins with the tenant.
    update latchkey.outbox o set position = nextval('latchkey.outbox_position') where o.seq = v.seq and o.position is null;
    perform pg_notify('latchkey_changed', 'event ' || v.tenant_id || ' placed');
    v_placed := v_placed + 1;
  end loop;
  return v_placed;
end $$;

create function latchkey.read_events(p_tenant text, p_after bigint, p_limit integer) returns setof latchkey.outbox language plpgsql set plan_cache_mode = force_custom_plan as $$
begin
  perform latchkey.enter(p_tenant);
  return query select * from latchkey.outbox o where o.tenant_id = p_tenant and o.position > p_after order by o.position limit p_limit;
end $$;

create function latchkey.read_events_of(p_tenant text, p_ids text[]) returns setof latchkey.outbox language plpgsql set plan_cache_mode = force_custom_plan as $$
begin
  perform latchkey.enter(p_tenant);
  return query select * from latchkey.outbox o where o.tenant_id = p_tenant and o.id = any (p_ids);
end $$;

create function latchkey.route_lanes(p_lanes smallint[], p_after bigint[], p_limit integer) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' set enable_bitmapscan = off as $$
  select o.tenant_id, o.id from unnest(p_lanes, p_after) l (lane, after),
    lateral (select e.tenant_id, e.id, e.position from latchkey.outbox e where e.lane = l.lane and e.position > l.after order by e.position limit p_limit) o
   order by o.position limit p_limit
$$;

-- The next rows of lanes, tenant by tenant under its policies, in one round trip.
create function latchkey.read_lanes(p_lanes smallint[], p_after bigint[], p_limit integer) returns setof latchkey.outbox language plpgsql as $$
declare
  v_routes json := (select json_object_agg(r.tenant_id, r.ids) from (select l.tenant_id, json_agg(l.id) as ids from latchkey.route_lanes(p_lanes, p_after, p_limit) l group by 1) r);
  v record;
begin
  for v in select t.key as tenant_id, array(select json_array_elements_text(t.value)) as ids from json_each(v_routes) t loop
    return query select * from latchkey.read_events_of(v.tenant_id, v.ids);
  end loop;
end $$;

-- Takes the lanes that nobody relays.
create function latchkey.take_lanes(p_lease_ms integer) returns table (lane smallint, "position" bigint, epoch bigint) language plpgsql as $$
begin
  return query
    with free as (select r.lane from latchkey.outbox_relay r where r.lease_until is null or r.lease_until < clock_timestamp() for update skip locked)
    update latchkey.outbox_relay r
       set lease_until = clock_timestamp() + p_lease_ms * interval '1 ms', lease_epoch = r.lease_epoch + 1, position = coalesce(r.position, latchkey.outbox_head())
      from free where r.lane = free.lane returning r.lane, r.position, r.lease_epoch;
end $$;

create function latchkey.outbox_head() returns bigint language sql stable security definer set search_path = '' as $$
  select coalesce(max(h.position), 0) from latchkey.outbox_relay r, lateral (select max(o.position) as position from latchkey.outbox o where o.lane = r.lane and o.position is not null) h
$$;

-- How many events wait to be relayed, at most 100000 of a lane counted, and for how long the oldest has.
create function latchkey.outbox_lag() returns table (events bigint, seconds double precision) language sql stable security definer set search_path = '' as $$
  select count(*), coalesce(extract(epoch from clock_timestamp() - min(w.create_time)), 0)::double precision from (
    select o.create_time from latchkey.outbox_relay r, lateral (select o.create_time from latchkey.outbox o where o.lane = r.lane and o.position > r.position order by o.position limit 100000) o
    union all select o.create_time from latchkey.outbox o where o.position is null) w
$$;

create function latchkey.reap_events(p_retention_ms bigint, p_limit integer) returns integer language plpgsql security definer set search_path = '' as $$
declare
  v_reaped integer;
begin
  delete from latchkey.outbox o using (
    select e.tenant_id, e.id from latchkey.outbox e
     where e.create_time < clock_timestamp() - greatest(p_retention_ms, 86400000) * interval '1 ms' order by e.create_time limit p_limit) old
   where o.tenant_id = old.tenant_id and o.id = old.id;
  get diagnostics v_reaped = row_count;
  return v_reaped;
end $$;

create function latchkey.route_expired_credentials(p_limit integer) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' as $$
  select k.tenant_id, k.connection_id from latchkey.credential k
   where k.expire_time < clock_timestamp() and k.expired_generation < k.generation and (k.refresh_due is null or k.failing_since is not null) order by k.expire_time limit p_limit
$$;

-- Also of what nothing renews.
create or replace function latchkey.route_expiring_grants(p_limit integer) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' as $$
  (select k.tenant_id, k.connection_id from latchkey.credential k
    where not k.expiry_warned and k.refresh_expire_time < clock_timestamp() + interval '7 days' order by k.refresh_expire_time limit p_limit)
  union
  (select k.tenant_id, k.connection_id from latchkey.credential k
    where not k.expiry_warned and k.expired_generation < k.generation and k.refresh_due is null
      and k.expire_time between clock_timestamp() and clock_timestamp() + interval '7 days' order by k.expire_time limit p_limit)
$$;

create or replace function latchkey.record_refresh(p_tenant text, p_connection text, p_audit json, p_event json, p_outcome text) returns void language plpgsql as $$
begin
  insert into latchkey.audit_entry (tenant_id, id, actor_kind, actor_id, on_behalf_of, action, resource_type, resource_id, after, request_id, address, create_time)
    values (p_tenant, p_audit ->> 'id', 'system', '', '', p_audit ->> 'action', 'connection', p_connection, ((p_audit -> 'after')::jsonb || jsonb_build_object('outcome', p_outcome)), '', '', now());
  perform latchkey.record_event(p_tenant, p_connection, p_event ->> 'id', p_event ->> 'type', (p_event ->> 'generation')::integer, (p_event -> 'payload')::jsonb || jsonb_build_object('outcome', p_outcome));
  perform pg_notify('latchkey_changed', 'connection ' || p_tenant || ' ' || p_connection);
end $$;

-- Nothing without an id, which replicas of the version before do not give.
create function latchkey.record_event(p_tenant text, p_connection text, p_id text, p_type text, p_generation integer, p_payload jsonb) returns void language sql as $$
  insert into latchkey.outbox (tenant_id, id, type, aggregate_type, aggregate_id, generation, payload, create_time, owner_user_id, project_id)
    select p_tenant, p_id, p_type, 'connection', p_connection, p_generation, p_payload || jsonb_build_object('provider_account_id', c.provider_account_id), now(), c.owner_user_id, c.project_id
      from latchkey.connection c where c.tenant_id = p_tenant and c.id = p_connection and p_id is not null
$$;

-- As in 0004-confirmations, and it says what a success ends and changes.
create or replace function latchkey.commit_refresh(p_tenant text, p_connection text, p_epoch integer, p_generation integer, p_attempt text, p_token json, p_sealed bytea, p_kept bytea, p_audit json, p_event json)
returns text language plpgsql as $$
declare
  v_granted integer;
  v_status text;
  v_failing boolean;
  v_scopes jsonb;
  v_outcome text := 'committed';
begin
  perform latchkey.enter(p_tenant);
  select k.granted_generation, c.status, k.failing_since is not null or c.status = 'REAUTHORIZATION_REQUIRED', c.granted_scopes into v_granted, v_status, v_failing, v_scopes
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
  if v_outcome = 'committed' and v_failing then
    perform latchkey.record_event(p_tenant, p_connection, p_event ->> 'recoveredId', 'connection.recovered', p_generation + 1, (p_event -> 'payload')::jsonb);
  end if;
  if v_outcome = 'committed' and not (v_scopes @> (p_token ->> 'grantedScopes')::jsonb and v_scopes <@ (p_token ->> 'grantedScopes')::jsonb) then
    perform latchkey.record_event(p_tenant, p_connection, p_event ->> 'scopesChangedId', 'connection.scopes_changed', p_generation + 1,
      (p_event -> 'payload')::jsonb || jsonb_build_object('scopes_before', v_scopes));
  end if;
  return v_outcome;
end $$;
`;

const ROUTING_FUNCTIONS = [
  'place_events(integer, boolean)',
  'route_lanes(smallint[], bigint[], integer)',
  'outbox_head()',
  'outbox_lag()',
  'reap_events(bigint, integer)',
  'route_expired_credentials(integer)',
];
const NEW = [
  'read_events(text, bigint, integer)',
  'read_events_of(text, text[])',
  'read_lanes(smallint[], bigint[], integer)',
  'take_lanes(integer)',
  'record_event(text, text, text, text, integer, jsonb)',
  ...ROUTING_FUNCTIONS,
]
  .map((signature) => `latchkey.${signature}`)
  .join(', ');

const GRANTS = `
grant select, update on latchkey.outbox_relay to latchkey_service;
grant select (lane, position) on latchkey.outbox_relay to latchkey_router;
grant select (tenant_id, id, seq, position, lane, create_time), update (position) on latchkey.outbox to latchkey_router;
grant delete on latchkey.outbox to latchkey_router;
grant usage on sequence latchkey.outbox_position to latchkey_router;
grant select (generation, expired_generation, expire_time, failing_since) on latchkey.credential to latchkey_router;
create policy routing on latchkey.outbox to latchkey_router using (true) with check (true);
revoke execute on function ${NEW} from public;
grant execute on function ${NEW} to latchkey_service;
${ownedByRouter(ROUTING_FUNCTIONS)}
`;

/** Events in an order that can be read: positions, lanes and their relay; what expires, recovers and changes its scopes is said. */
export class Migration0011Events extends Migration {
  override name = '0011-events';

  override up(): void {
    for (const sql of [TABLES, FUNCTIONS, GRANTS]) this.addSql(sql);
  }
}
