import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter, tenantPolicy } from './tenant-policy.ts';

const TABLES = `
create table latchkey.event_endpoint (
  tenant_id text collate "C" not null references latchkey.tenant,
  id text collate "C" not null,
  project_id text collate "C",
  description text not null,
  url text not null,
  headers bytea,
  header_names jsonb not null,
  event_types jsonb not null,
  filter text not null,
  include_inbound_content boolean not null,
  audience jsonb not null,
  secret bytea not null,
  previous_secret bytea,
  previous_secret_expire_time timestamptz,
  secret_generation integer not null,
  enabled boolean not null,
  disabled_reason text not null,
  start_position bigint not null,
  failing_since timestamptz,
  failed_time timestamptz,
  version integer not null,
  create_time timestamptz not null,
  update_time timestamptz not null,
  primary key (tenant_id, id)
);
comment on column latchkey.event_endpoint.start_position is 'Events up to this position of the outbox are from before it was made, or enabled.';
comment on column latchkey.event_endpoint.failing_since is 'When the first delivery failed after the last success; failed_time, to the minute: when the last one did.';
create index event_endpoint_failing on latchkey.event_endpoint (failing_since) where enabled and failing_since is not null;

create table latchkey.event_fan_out (
  tenant_id text collate "C" primary key references latchkey.tenant,
  position bigint not null,
  lease_until timestamptz,
  lease_epoch bigint not null default 0
);
comment on table latchkey.event_fan_out is 'How far the outbox of each tenant that has endpoints was turned into deliveries to them. Who does that holds the lease, by the clock of the database.';

-- A delivery of an event: signed_by is the endpoint, message_id the event. Each event goes to an endpoint once.
create unique index delivery_of_event on latchkey.delivery (tenant_id, signed_by, message_id) where purpose = 'event';
create index delivery_by_endpoint on latchkey.delivery (tenant_id, signed_by, id) where purpose <> 'webhook';
`;

const FUNCTIONS = `
create function latchkey.read_event_endpoint(p_tenant text, p_id text)
returns table (enabled boolean, url text, headers bytea, secret bytea, previous_secret bytea, secret_generation integer) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query select e.enabled, e.url, e.headers, e.secret, case when e.previous_secret_expire_time > clock_timestamp() then e.previous_secret end, e.secret_generation
    from latchkey.event_endpoint e where e.tenant_id = p_tenant and e.id = p_id;
end $$;

-- The statement of settle_deliveries for endpoints, after it, in the same transaction: a success ends a time of failures, a failure begins one.
create function latchkey.note_endpoints(p_tenant text, p_outcomes json) returns void language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  if not exists (select from latchkey.event_endpoint e where e.tenant_id = p_tenant) then
    return;
  end if;
  update latchkey.event_endpoint e
     set failing_since = case when not n.well then coalesce(e.failing_since, clock_timestamp()) end, failed_time = case when not n.well then clock_timestamp() else e.failed_time end
    from (select d.signed_by, bool_or(o.status = 'SUCCEEDED') as well
            from json_to_recordset(p_outcomes) as o(id text, epoch integer, status text, attempt json)
            join latchkey.delivery d on d.tenant_id = p_tenant and d.id = o.id and d.lease_epoch = o.epoch + 1
           where d.purpose = 'event' and json_typeof(o.attempt) = 'object' group by 1 order by 1) n
   where e.tenant_id = p_tenant and e.id = n.signed_by
     and case when n.well then e.failing_since is not null else e.failing_since is null or e.failed_time < clock_timestamp() - interval '1 minute' end;
end $$;

-- Leases the fan-out of tenants that have events after where it came to.
create function latchkey.route_claim_fan_outs(p_limit integer, p_lease_ms integer) returns table (tenant_id text, epoch bigint)
language plpgsql security definer set search_path = '' set enable_seqscan = off as $$
begin
  return query
    with due as (
      select f.tenant_id from latchkey.event_fan_out f
       where (f.lease_until is null or f.lease_until < clock_timestamp()) and exists (select from latchkey.outbox o where o.tenant_id = f.tenant_id and o.position > f.position)
       order by random() limit p_limit for update skip locked)
    update latchkey.event_fan_out f set lease_until = clock_timestamp() + p_lease_ms * interval '1 ms', lease_epoch = f.lease_epoch + 1
      from due where f.tenant_id = due.tenant_id returning f.tenant_id, f.lease_epoch;
end $$;

create function latchkey.route_failing_endpoints(p_ms bigint, p_limit integer) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' as $$
  select e.tenant_id, e.id from latchkey.event_endpoint e
   where e.enabled and e.failing_since <= clock_timestamp() - p_ms * interval '1 ms' and e.failed_time >= e.failing_since + p_ms * interval '1 ms' order by e.failing_since limit p_limit
$$;
`;

const ROUTING_FUNCTIONS = ['route_claim_fan_outs(integer, integer)', 'route_failing_endpoints(bigint, integer)'];
const OURS = ['read_event_endpoint(text, text)', 'note_endpoints(text, json)'];
const ALL = [...OURS, ...ROUTING_FUNCTIONS].map((signature) => `latchkey.${signature}`).join(', ');

const GRANTS = `
grant select, insert, update, delete on latchkey.event_endpoint, latchkey.event_fan_out to latchkey_service;
revoke execute on function ${ALL} from public;
grant execute on function ${ALL} to latchkey_service;
grant select (tenant_id, id, enabled, failing_since, failed_time) on latchkey.event_endpoint to latchkey_router;
grant select (tenant_id, position, lease_until, lease_epoch), update (lease_until, lease_epoch) on latchkey.event_fan_out to latchkey_router;
create policy routing on latchkey.event_endpoint for select to latchkey_router using (true);
create policy routing on latchkey.event_fan_out for select to latchkey_router using (true);
create policy leasing on latchkey.event_fan_out for update to latchkey_router using (true) with check (true);
${ownedByRouter(ROUTING_FUNCTIONS)}
`;

/** Endpoints that events are sent to, and how far that came. */
export class Migration0013EventEndpoints extends Migration {
  override name = '0013-event-endpoints';

  override up(): void {
    const policies = ['event_endpoint', 'event_fan_out'].map(tenantPolicy);
    for (const sql of [TABLES, FUNCTIONS, ...policies, GRANTS]) this.addSql(sql);
  }
}
