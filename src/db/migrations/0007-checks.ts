import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter, tenantPolicy } from './tenant-policy.ts';

const TABLES = `
alter table latchkey.connection
  add column http_check jsonb,
  add column check_schedule text not null default 'OFF',
  add column failure_threshold integer not null default 3,
  add column recovery_threshold integer not null default 2;

create table latchkey.connection_health (
  tenant_id text not null references latchkey.tenant,
  connection_id text collate "C" not null,
  health text not null default 'UNKNOWN',
  since timestamptz,
  failures integer not null default 0,
  successes integer not null default 0,
  last_status text not null default '',
  last_message text not null default '',
  check_due timestamptz,
  lease_until timestamptz,
  lease_epoch integer not null default 0,
  primary key (tenant_id, connection_id),
  foreign key (tenant_id, connection_id) references latchkey.connection (tenant_id, id) on delete cascade
);
comment on table latchkey.connection_health is 'What checks found out of connections, and when the next is due. Who makes a check holds its lease, by the clock of the database.';
create index connection_health_by_check_due on latchkey.connection_health (check_due) where check_due is not null;

create table latchkey.connection_usage (
  tenant_id text not null references latchkey.tenant,
  connection_id text collate "C" not null,
  day date not null,
  calls bigint not null,
  errors bigint not null,
  rate_limited bigint not null,
  unusual boolean not null default false,
  primary key (tenant_id, connection_id, day),
  foreign key (tenant_id, connection_id) references latchkey.connection (tenant_id, id) on delete cascade
);
comment on table latchkey.connection_usage is 'Calls with connections, by day in UTC.';
create index connection_usage_by_day on latchkey.connection_usage (day);

create table latchkey.rate_window (
  tenant_id text not null references latchkey.tenant,
  method text not null,
  caller text collate "C" not null,
  times timestamptz[] not null,
  primary key (tenant_id, method, caller)
);
comment on table latchkey.rate_window is 'When callers last made calls of which so many are taken in a time.';
`;

const FUNCTIONS = `
-- Takes one of so many calls in a time. Answers 0, or after how many ms there is one again.
create function latchkey.take_turn(p_tenant text, p_method text, p_caller text, p_most integer, p_window_ms integer) returns integer language plpgsql as $$
declare
  v_times timestamptz[];
  v_window interval := p_window_ms * interval '1 ms';
  v_now timestamptz;
begin
  perform latchkey.enter(p_tenant);
  insert into latchkey.rate_window (tenant_id, method, caller, times) values (p_tenant, p_method, p_caller, '{}') on conflict do nothing;
  select w.times into v_times from latchkey.rate_window w where w.tenant_id = p_tenant and w.method = p_method and w.caller = p_caller for update;
  v_now := clock_timestamp();
  select coalesce(array_agg(t order by t), '{}') into v_times from unnest(v_times) as t where t > v_now - v_window;
  if cardinality(v_times) >= p_most then
    return greatest(1, ceil(extract(epoch from v_times[1] + v_window - v_now) * 1000));
  end if;
  update latchkey.rate_window w set times = v_times || v_now where w.tenant_id = p_tenant and w.method = p_method and w.caller = p_caller;
  return 0;
end $$;

-- Claims a check that is due, for as long as it can take. Answers the lease; null: it is not due, or somebody else's.
create function latchkey.claim_check(p_tenant text, p_connection text, p_margin_ms integer) returns integer language plpgsql as $$
declare
  v_epoch integer;
begin
  perform latchkey.enter(p_tenant);
  update latchkey.connection_health h
     set lease_epoch = h.lease_epoch + 1, lease_until = clock_timestamp() + (c.timeout_ms + p_margin_ms) * interval '1 ms'
    from latchkey.connection c
   where h.tenant_id = p_tenant and h.connection_id = p_connection and c.tenant_id = h.tenant_id and c.id = h.connection_id
     and h.check_due <= clock_timestamp() and (h.lease_until is null or h.lease_until <= clock_timestamp())
  returning h.lease_epoch into v_epoch;
  return v_epoch;
end $$;

-- Gives a claimed check back, to be made in so many ms.
create function latchkey.postpone_check(p_tenant text, p_connection text, p_epoch integer, p_delay_ms integer) returns void language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  update latchkey.connection_health h
     set lease_until = null, check_due = case when h.check_due is not null then clock_timestamp() + p_delay_ms * interval '1 ms' end
   where h.tenant_id = p_tenant and h.connection_id = p_connection and h.lease_epoch = p_epoch;
end $$;

create function latchkey.route_due_checks(p_limit integer) returns table (tenant_id text, connection_id text)
language sql stable security definer set search_path = '' as $$
  select h.tenant_id, h.connection_id from latchkey.connection_health h
   where h.check_due <= clock_timestamp() and (h.lease_until is null or h.lease_until <= clock_timestamp())
   order by h.check_due limit p_limit
$$;

create function latchkey.route_old_usage() returns table (tenant_id text)
language sql stable security definer set search_path = '' as $$
  select distinct u.tenant_id from latchkey.connection_usage u where u.day < (clock_timestamp() at time zone 'utc')::date - 90
$$;
`;

const ROUTING_FUNCTIONS = ['route_due_checks(integer)', 'route_old_usage()'];
const OURS = [
  'take_turn(text, text, text, integer, integer)',
  'claim_check(text, text, integer)',
  'postpone_check(text, text, integer, integer)',
];
const ALL = [...OURS, ...ROUTING_FUNCTIONS].map((signature) => `latchkey.${signature}`).join(', ');

const GRANTS = `
grant select, insert, update, delete on latchkey.connection_health, latchkey.connection_usage, latchkey.rate_window to latchkey_service;
revoke execute on function ${ALL} from public;
grant execute on function ${ALL} to latchkey_service;
grant select (tenant_id, connection_id, check_due, lease_until) on latchkey.connection_health to latchkey_router;
grant select (tenant_id, day) on latchkey.connection_usage to latchkey_router;
create policy routing on latchkey.connection_health for select to latchkey_router using (true);
create policy routing on latchkey.connection_usage for select to latchkey_router using (true);
${ownedByRouter(ROUTING_FUNCTIONS)}
`;

/** Checks of connections, their health and their usage. */
export class Migration0007Checks extends Migration {
  override name = '0007-checks';

  override up(): void {
    const policies = ['connection_health', 'connection_usage', 'rate_window'].map(tenantPolicy);
    for (const sql of [TABLES, FUNCTIONS, ...policies, GRANTS]) this.addSql(sql);
  }
}
