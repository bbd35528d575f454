import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter, tenantPolicy } from './tenant-policy.ts';

const TABLES = `
alter table latchkey.outbox add column owner_user_id text, add column project_id text;
comment on column latchkey.outbox.owner_user_id is 'With project_id: who may see what it speaks of, as it was then.';

alter table latchkey.connection add column previous_webhook_secret bytea, add column previous_webhook_secret_expire_time timestamptz;

create table latchkey.delivery (
  tenant_id text collate "C" not null,
  id text collate "C" not null,
  message_id text not null,
  purpose text not null,
  connection_id text collate "C",
  signed_by text not null,
  owner_user_id text collate "C",
  project_id text collate "C",
  host text collate "C" not null,
  lane integer not null,
  method text not null,
  sealed bytea,
  timeout_ms integer not null,
  backoff_ms integer not null,
  max_attempts integer not null,
  attempt_count integer not null,
  attempts jsonb not null,
  status text not null,
  error text not null,
  awaited boolean not null,
  due_time timestamptz not null,
  lease_epoch integer not null,
  create_time timestamptz not null,
  settle_time timestamptz,
  primary key (tenant_id, id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
comment on table latchkey.delivery is 'Requests that are to reach somebody else at least once. Whoever sends one has moved its due_time to the end of a lease, by the clock of the database; who dies leaves it due.';
create index delivery_due on latchkey.delivery (tenant_id, lane, due_time) where settle_time is null;
create index delivery_dead on latchkey.delivery (tenant_id, id) where status = 'FAILED';
create index delivery_by_connection on latchkey.delivery (tenant_id, connection_id, id) where connection_id is not null;
create index delivery_settled on latchkey.delivery (settle_time) where settle_time is not null;
`;

/** A plan that was made while the table was small is kept when it has grown: of these statements each has its index. */
const BY_INDEX = ['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin'].map((way) => `set enable_${way} = off`).join(' ');

const FUNCTIONS = `
create function latchkey.accept_deliveries(p_tenant text, p_rows json) returns void language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  insert into latchkey.delivery (tenant_id, id, message_id, purpose, connection_id, signed_by, owner_user_id, project_id, host, lane, method, sealed, timeout_ms, backoff_ms,
      max_attempts, attempt_count, attempts, status, error, awaited, due_time, lease_epoch, create_time, settle_time)
    select p_tenant, r.id, r."messageId", r.purpose, r."connectionId", r."signedBy", r."ownerUserId", r."projectId", r.host, r.lane, r.method, case when r.status <> 'SKIPPED' then decode(r.sealed, 'base64') end, r."timeoutMs",
      r."backoffMs", r."maxAttempts", 0, '[]', r.status, '', r.awaited, clock_timestamp() + r."leaseMs" * interval '1 ms', r.epoch, clock_timestamp(),
      case when r.status = 'SKIPPED' then clock_timestamp() end
    from json_to_recordset(p_rows) as r(id text, "messageId" text, purpose text, "connectionId" text, "signedBy" text, "ownerUserId" text, "projectId" text, host text, lane integer, method text,
      sealed text, "timeoutMs" integer, "backoffMs" integer, "maxAttempts" integer, status text, awaited boolean, "leaseMs" integer, epoch integer);
  insert into latchkey.audit_entry (tenant_id, id, actor_kind, actor_id, on_behalf_of, action, resource_type, resource_id, after, request_id, address, create_time)
    select p_tenant, a.id, a."actorKind", a."actorId", a."onBehalfOf", a.action, a."resourceType", a."resourceId", a.after, a."requestId", a.address, to_timestamp(a.time / 1000.0)
      from json_array_elements(p_rows) r, json_to_record(r -> 'audit') as a(id text, "actorKind" text, "actorId" text, "onBehalfOf" text, action text, "resourceType" text, "resourceId" text,
        after jsonb, "requestId" text, address text, time float8);
  if exists (select from json_array_elements(p_rows) r where r ->> 'status' = 'PENDING') then
    perform pg_notify('latchkey_changed', 'delivery - due');
  end if;
end $$;

create function latchkey.read_deliveries(p_tenant text, p_ids json)
returns table (tenant_id text, id text, message_id text, purpose text, connection_id text, signed_by text, host text, lane integer, method text, sealed bytea, timeout_ms integer,
  backoff_ms integer, max_attempts integer, attempt_count integer, awaited boolean, lease_epoch integer) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query select d.tenant_id, d.id, d.message_id, d.purpose, d.connection_id, d.signed_by, d.host, d.lane, d.method, d.sealed, d.timeout_ms,
      d.backoff_ms, d.max_attempts, d.attempt_count, d.awaited, d.lease_epoch
    from latchkey.delivery d where d.tenant_id = p_tenant and d.id = any (array(select json_array_elements_text(p_ids)));
end $$;

-- What a lease yielded. Who lost the lease changes nothing, and what is written twice is written once.
create function latchkey.settle_deliveries(p_tenant text, p_outcomes json) returns void language plpgsql ${BY_INDEX} as $$
declare
  v_told text[];
begin
  perform latchkey.enter(p_tenant);
  with outcome as (
    select * from json_to_recordset(p_outcomes) as o(id text, epoch integer, status text, "waitMs" float8, attempt jsonb, error text, event jsonb)
    -- In order of id, as all who lock several rows do.
    order by o.id
  ), written as (
    update latchkey.delivery d
       set status = o.status, error = o.error, lease_epoch = d.lease_epoch + 1,
           -- What has arrived is not kept.
           sealed = case when o.status <> 'SUCCEEDED' then d.sealed end,
           due_time = clock_timestamp() + o."waitMs" * interval '1 ms',
           settle_time = case when o.status <> 'PENDING' then clock_timestamp() end,
           attempts = case when o.attempt is null then d.attempts else d.attempts || o.attempt end,
           attempt_count = d.attempt_count + case when o.attempt is null then 0 else 1 end
      from outcome o
     where d.tenant_id = p_tenant and d.id = o.id and d.lease_epoch = o.epoch and d.settle_time is null
    returning d.id, d.awaited, d.settle_time, d.lease_epoch, d.owner_user_id, d.project_id, o.event
  ), told as (
    insert into latchkey.outbox (tenant_id, id, type, aggregate_type, aggregate_id, generation, payload, create_time, owner_user_id, project_id)
      select p_tenant, w.event ->> 'id', w.event ->> 'type', 'delivery', w.id, w.lease_epoch, w.event -> 'payload', clock_timestamp(), w.owner_user_id, w.project_id from written w where jsonb_typeof(w.event) = 'object'
  )
  select array_agg(w.id) into v_told from written w where w.awaited and w.settle_time is not null;
  perform pg_notify('latchkey_changed', 'delivery ' || p_tenant || ' ' || told.id) from unnest(v_told) as told(id);
end $$;

create function latchkey.reap_deliveries(p_tenant text, p_ids json) returns void language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  delete from latchkey.delivery d where d.tenant_id = p_tenant and d.settle_time is not null and d.id = any (array(select json_array_elements_text(p_ids)));
end $$;

create function latchkey.read_signing_secrets(p_tenant text, p_connection text) returns table (current bytea, previous bytea) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query select c.webhook_signature_secret, case when c.previous_webhook_secret_expire_time > clock_timestamp() then c.previous_webhook_secret end
    from latchkey.connection c where c.tenant_id = p_tenant and c.id = p_connection;
end $$;

create function latchkey.route_settled_deliveries(p_days integer, p_limit integer) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' as $$
  select d.tenant_id, d.id from latchkey.delivery d where d.settle_time < clock_timestamp() - p_days * interval '1 day' order by d.settle_time limit p_limit
$$;

-- Leases what is due: tenants in turn after the one that p_after names, each with lanes from a random one on, so that nobody's backlog hides anybody else's.
-- p_rooms says how much of a tenant ('tenant') or of a lane ('tenant lane') may be leased, where that is not the usual.
create function latchkey.route_claim_deliveries(p_after text, p_rooms jsonb, p_most integer, p_most_new integer, p_per_tenant integer, p_per_lane integer, p_guard_ms integer)
returns table (tenant_id text, id text, lane integer) language plpgsql security definer set search_path = '' ${BY_INDEX} as $$
declare
  v_tenant text := p_after;
  v_lane integer;
  v_left integer := p_most;
  v_new integer := p_most_new;
  v_tenant_left integer;
  v_tenant_new integer;
  v_room integer;
  v_claimed integer;
  v_wrapped boolean := false;
  v_lane_wrapped boolean;
begin
  for visited_tenants in 1..64 loop
    select d.tenant_id into v_tenant from latchkey.delivery d where d.settle_time is null and d.tenant_id > v_tenant order by d.tenant_id limit 1;
    if not found then
      exit when v_wrapped;
      v_wrapped := true;
      v_tenant := '';
      continue;
    end if;
    exit when v_wrapped and v_tenant > p_after;
    v_tenant_left := coalesce((p_rooms ->> v_tenant)::integer, p_per_tenant);
    v_tenant_new := coalesce((p_rooms ->> (v_tenant || ' new'))::integer, (p_rooms ->> ' new')::integer);
    v_lane := floor(random() * 4294967296 - 2147483648)::integer;
    v_lane_wrapped := false;
    for visited_lanes in 1..64 loop
      exit when v_left <= 0 or v_tenant_left <= 0;
      select d.lane into v_lane from latchkey.delivery d where d.settle_time is null and d.tenant_id = v_tenant and d.lane > v_lane order by d.lane limit 1;
      if not found then
        exit when v_lane_wrapped;
        v_lane_wrapped := true;
        v_lane := -2147483648;
        continue;
      end if;
      v_room := least((p_rooms ->> (v_tenant || ' ' || v_lane))::integer, v_left, v_tenant_left);
      if p_rooms ->> (v_tenant || ' ' || v_lane) is null then
        v_room := least(p_per_lane, v_new, v_tenant_new, v_room);
      end if;
      continue when v_room <= 0;
      return query
        update latchkey.delivery d
           set status = 'DELIVERING', lease_epoch = d.lease_epoch + 1, due_time = clock_timestamp() + (d.timeout_ms + p_guard_ms) * interval '1 ms'
          from (select c.id from latchkey.delivery c
                 where c.tenant_id = v_tenant and c.lane = v_lane and c.settle_time is null and c.due_time <= clock_timestamp()
                 order by c.due_time limit v_room for update skip locked) due
         where d.tenant_id = v_tenant and d.id = due.id
        returning d.tenant_id, d.id, d.lane;
      get diagnostics v_claimed = row_count;
      v_left := v_left - v_claimed;
      v_tenant_left := v_tenant_left - v_claimed;
      if p_rooms ->> (v_tenant || ' ' || v_lane) is null then
        v_new := v_new - v_claimed;
        v_tenant_new := v_tenant_new - v_claimed;
      end if;
    end loop;
    exit when v_left <= 0;
  end loop;
end $$;
`;

const ROUTING_FUNCTIONS = [
  'route_settled_deliveries(integer, integer)',
  'route_claim_deliveries(text, jsonb, integer, integer, integer, integer, integer)',
];
const OURS = [
  'accept_deliveries(text, json)',
  'read_deliveries(text, json)',
  'settle_deliveries(text, json)',
  'reap_deliveries(text, json)',
  'read_signing_secrets(text, text)',
];
const ALL = [...OURS, ...ROUTING_FUNCTIONS].map((signature) => `latchkey.${signature}`).join(', ');

const GRANTS = `
grant select, insert, update, delete on latchkey.delivery to latchkey_service;
revoke execute on function ${ALL} from public;
grant execute on function ${ALL} to latchkey_service;
grant select (tenant_id, id, lane, timeout_ms, due_time, lease_epoch, settle_time), update (status, due_time, lease_epoch) on latchkey.delivery to latchkey_router;
create policy routing on latchkey.delivery for select to latchkey_router using (true);
create policy leasing on latchkey.delivery for update to latchkey_router using (true) with check (true);
${ownedByRouter(ROUTING_FUNCTIONS)}
`;

/** The queue of deliveries, and the secret before the present one that webhooks are signed with. */
export class Migration0008Deliveries extends Migration {
  override name = '0008-deliveries';

  override up(): void {
    for (const sql of [TABLES, FUNCTIONS, tenantPolicy('delivery'), GRANTS]) this.addSql(sql);
  }
}
