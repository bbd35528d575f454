import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter, tenantPolicy } from './tenant-policy.ts';

const TABLES = `
alter table latchkey.tenant add column limits jsonb not null default '{}';
alter table latchkey.api_key add column rate_limit jsonb;

-- Not logged: what is lost in a crash is full again. Room for many changes of a row in its page.
create unlogged table latchkey.rate_bucket (
  tenant_id text collate "C" not null references latchkey.tenant on delete cascade,
  subject text collate "C" not null,
  per_second float8 not null,
  burst float8 not null,
  tokens float8 not null,
  demands jsonb not null,
  settle_time timestamptz not null,
  primary key (tenant_id, subject)
) with (fillfactor = 50);
comment on table latchkey.rate_bucket is 'Token buckets of all replicas together: of a tenant (subject is empty), of an API key or a user. demands: calls a second at each replica, and when it said so.';
comment on column latchkey.rate_bucket.tokens is 'Below 0 where more was used than there was: replicas use first and settle later.';

create table latchkey.connection_count (
  tenant_id text collate "C" primary key references latchkey.tenant on delete cascade,
  connections bigint not null
);
comment on table latchkey.connection_count is 'How many connections each tenant has, kept by triggers: whoever adds one holds the row until the end, and knows how many there are.';
`;

const FUNCTIONS = `
-- What was used at one replica since it last settled, by subject: {rate, burst, used, demand, ms}. Answers how many tokens there are, and calls a second at all replicas.
create function latchkey.settle_calls(p_tenant text, p_replica text, p_calls jsonb) returns table (subject text, tokens float8, demand float8) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query
    insert into latchkey.rate_bucket as b (tenant_id, subject, per_second, burst, tokens, demands, settle_time)
      select p_tenant, c.key, c.rate, c.burst, greatest(-greatest(c.burst, c.rate), least(c.burst, c.burst + c.rate * c.ms / 1000 - c.used)),
          jsonb_build_object(p_replica, jsonb_build_array(c.demand, extract(epoch from clock_timestamp()))), clock_timestamp()
        from (select e.key, u.* from jsonb_each(p_calls) e, jsonb_to_record(e.value) as u(rate float8, burst float8, used float8, demand float8, ms float8)
               where exists (select from latchkey.tenant t where t.tenant_id = p_tenant) order by e.key) c
    on conflict on constraint rate_bucket_pkey do update set
      per_second = excluded.per_second, burst = excluded.burst, settle_time = clock_timestamp(),
      tokens = greatest(-greatest(excluded.burst, excluded.per_second), least(excluded.burst,
          b.tokens + excluded.per_second * greatest(0, extract(epoch from clock_timestamp() - b.settle_time)) - (p_calls -> b.subject ->> 'used')::float8)),
      -- A replica that has not said so for a while has no calls, or is gone.
      demands = excluded.demands || (select coalesce(jsonb_object_agg(d.key, d.value), '{}') from jsonb_each(b.demands) d
          where d.key <> p_replica and (d.value ->> 1)::float8 > extract(epoch from clock_timestamp()) - 2.5)
    returning b.subject, b.tokens, (select sum((d.value ->> 0)::float8) from jsonb_each(b.demands) d);
end $$;

create function latchkey.reap_rate_buckets(p_ms bigint) returns void language sql security definer set search_path = '' as $$
  delete from latchkey.rate_bucket b where b.settle_time < clock_timestamp() - greatest(p_ms, 3600000) * interval '1 ms'
$$;

create function latchkey.count_connections() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into latchkey.connection_count as c (tenant_id, connections)
      select n.tenant_id, count(*) from new_rows n group by n.tenant_id order by n.tenant_id
    on conflict (tenant_id) do update set connections = c.connections + excluded.connections;
  else
    update latchkey.connection_count c set connections = c.connections - o.removed
      from (select tenant_id, count(*) as removed from old_rows group by tenant_id) o where c.tenant_id = o.tenant_id;
  end if;
  return null;
end $$;

create function latchkey.count_replicas(p_gone_ms integer) returns integer language sql stable as $$
  select count(*)::integer from latchkey.replica r where r.heartbeat_time > clock_timestamp() - p_gone_ms * interval '1 ms'
$$;

-- Replicas of before still ask read_api_key.
create function latchkey.read_api_key_limits(p_tenant text, p_id text)
returns table (scopes text[], project_ids text[], operator boolean, expire_time timestamptz, revoke_time timestamptz, rate_limit jsonb, limits jsonb) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query select k.scopes, k.project_ids, k.operator, k.expire_time, k.revoke_time, k.rate_limit, t.limits
    from latchkey.api_key k join latchkey.tenant t on t.tenant_id = k.tenant_id and t.state = 'ACTIVE'
    where k.tenant_id = p_tenant and k.id = p_id;
end $$;

-- Replicas of before still ask route_tenants without an order.
create function latchkey.route_tenants(p_after text, p_descending boolean, p_limit integer, p_skip integer)
returns table (tenant_id text, display_name text, create_time timestamptz, state text, delete_time timestamptz, erase_time timestamptz, limits jsonb)
language plpgsql stable security definer set search_path = '' as $$
begin
  if p_descending then
    return query select t.tenant_id, t.display_name, t.create_time, t.state, t.delete_time, t.erase_time, t.limits
      from latchkey.tenant t where p_after = '' or t.tenant_id < p_after order by t.tenant_id desc limit p_limit offset p_skip;
  else
    return query select t.tenant_id, t.display_name, t.create_time, t.state, t.delete_time, t.erase_time, t.limits
      from latchkey.tenant t where t.tenant_id > p_after order by t.tenant_id limit p_limit offset p_skip;
  end if;
end $$;
`;

/** The triggers first: they hold off who would add or remove one while it is counted. The owner of a table sees no row of it while its policies are forced. */
const COUNTING = `
create trigger connection_added after insert on latchkey.connection referencing new table as new_rows for each statement execute function latchkey.count_connections();
create trigger connection_removed after delete on latchkey.connection referencing old table as old_rows for each statement execute function latchkey.count_connections();
alter table latchkey.connection disable row level security;
insert into latchkey.connection_count (tenant_id, connections) select tenant_id, count(*) from latchkey.connection group by tenant_id;
alter table latchkey.connection enable row level security;
`;

const ROUTING_FUNCTIONS = ['route_tenants(text, boolean, integer, integer)', 'reap_rate_buckets(bigint)'];
const OURS = [
  'settle_calls(text, text, jsonb)',
  'count_connections()',
  'count_replicas(integer)',
  'read_api_key_limits(text, text)',
];
const ALL = [...OURS, ...ROUTING_FUNCTIONS].map((signature) => `latchkey.${signature}`).join(', ');

const GRANTS = `
grant select, insert, update, delete on latchkey.rate_bucket, latchkey.connection_count to latchkey_service;
revoke execute on function ${ALL} from public;
grant execute on function ${ALL} to latchkey_service;
grant select (limits) on latchkey.tenant to latchkey_router;
grant select (tenant_id, settle_time) on latchkey.rate_bucket to latchkey_router;
grant delete on latchkey.rate_bucket to latchkey_router;
create policy routing on latchkey.rate_bucket for select to latchkey_router using (true);
create policy reaping on latchkey.rate_bucket for delete to latchkey_router using (true);
${ownedByRouter(ROUTING_FUNCTIONS)}
`;

/** Limits of calls and of connections that hold for all replicas together. */
export class Migration0016Limits extends Migration {
  override name = '0016-limits';

  override up(): void {
    const policies = ['rate_bucket', 'connection_count'].map(tenantPolicy);
    for (const sql of [TABLES, FUNCTIONS, COUNTING, ...policies, GRANTS]) this.addSql(sql);
  }
}
