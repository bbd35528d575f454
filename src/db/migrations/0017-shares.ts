import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter } from './tenant-policy.ts';

const TABLES = `
alter table latchkey.delivery add column claims integer not null default 1;
comment on column latchkey.delivery.claims is 'Leases in a row of which only the last may still have an outcome: whoever had the others died, or stood still. Three or more, and lost again: a suspect.';
create index delivery_suspect on latchkey.delivery (due_time) where settle_time is null and status = 'DELIVERING' and claims > 2;
`;

/** A plan that was made while the table was small is kept when it has grown: of these statements each has its index. */
const BY_INDEX = ['seqscan', 'bitmapscan', 'hashjoin', 'mergejoin'].map((way) => `set enable_${way} = off`).join(' ');

/** The functions of before stay for replicas of the version before. */
const FUNCTIONS = `
-- As before, and counts leases that had no outcome. What was lost three times may be what ends those who send it: of such suspects at most so many are leased, so that nothing else is lost with them.
create function latchkey.route_claim_deliveries(p_after text, p_rooms jsonb, p_most integer, p_most_new integer, p_per_tenant integer, p_per_lane integer, p_guard_ms integer, p_suspects integer)
returns table (tenant_id text, id text, lane integer, claims integer) language plpgsql security definer set search_path = '' ${BY_INDEX} as $$
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
  return query
    update latchkey.delivery d
       set lease_epoch = d.lease_epoch + 1, claims = d.claims + 1, due_time = clock_timestamp() + (d.timeout_ms + p_guard_ms) * interval '1 ms'
      from (select c.tenant_id, c.id from latchkey.delivery c
             where c.settle_time is null and c.status = 'DELIVERING' and c.claims > 2 and c.due_time <= clock_timestamp()
             order by c.due_time limit least(p_suspects, p_most) for update skip locked) due
     where d.tenant_id = due.tenant_id and d.id = due.id
    returning d.tenant_id, d.id, d.lane, d.claims;
  get diagnostics v_claimed = row_count;
  v_left := v_left - v_claimed;
  for visited_tenants in 1..64 loop
    exit when v_left <= 0;
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
           set status = 'DELIVERING', lease_epoch = d.lease_epoch + 1, due_time = clock_timestamp() + (d.timeout_ms + p_guard_ms) * interval '1 ms',
               claims = case when d.status = 'DELIVERING' then d.claims + 1 else 1 end
          from (select c.id from latchkey.delivery c
                 where c.tenant_id = v_tenant and c.lane = v_lane and c.settle_time is null and c.due_time <= clock_timestamp()
                   and not (c.status = 'DELIVERING' and c.claims > 2)
                 order by c.due_time limit v_room for update skip locked) due
         where d.tenant_id = v_tenant and d.id = due.id
        returning d.tenant_id, d.id, d.lane, d.claims;
      get diagnostics v_claimed = row_count;
      v_left := v_left - v_claimed;
      v_tenant_left := v_tenant_left - v_claimed;
      if p_rooms ->> (v_tenant || ' ' || v_lane) is null then
        v_new := v_new - v_claimed;
        v_tenant_new := v_tenant_new - v_claimed;
      end if;
    end loop;
  end loop;
end $$;

create function latchkey.route_due_checks(p_limit integer, p_without text[]) returns table (tenant_id text, connection_id text)
language sql stable security definer set search_path = '' as $$
  select h.tenant_id, h.connection_id from latchkey.connection_health h
   where h.check_due <= clock_timestamp() and (h.lease_until is null or h.lease_until <= clock_timestamp()) and h.tenant_id <> all (p_without)
   order by h.check_due limit p_limit
$$;

create function latchkey.route_old_rate_windows() returns table (tenant_id text)
language sql stable security definer set search_path = '' as $$
  select distinct w.tenant_id from latchkey.rate_window w where not clock_timestamp() - interval '1 hour' < any (w.times)
$$;
`;

const ROUTING_FUNCTIONS = [
  'route_claim_deliveries(text, jsonb, integer, integer, integer, integer, integer, integer)',
  'route_due_checks(integer, text[])',
  'route_old_rate_windows()',
];
const ALL = ROUTING_FUNCTIONS.map((signature) => `latchkey.${signature}`).join(', ');

const GRANTS = `
revoke execute on function ${ALL} from public;
grant execute on function ${ALL} to latchkey_service;
grant select (status, claims), update (claims) on latchkey.delivery to latchkey_router;
grant select (tenant_id, times) on latchkey.rate_window to latchkey_router;
create policy routing on latchkey.rate_window for select to latchkey_router using (true);
${ownedByRouter(ROUTING_FUNCTIONS)}
`;

/** Due checks without those of certain tenants, leases of deliveries that had no outcome, and limits of calls that nobody has reached of late. */
export class Migration0017Shares extends Migration {
  override name = '0017-shares';

  override up(): void {
    for (const sql of [TABLES, FUNCTIONS, GRANTS]) this.addSql(sql);
  }
}
