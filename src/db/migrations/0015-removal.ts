import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter, tenantPolicy } from './tenant-policy.ts';

const TABLES = `
alter table latchkey.tenant
  add column state text not null default 'ACTIVE' check (state in ('ACTIVE', 'DELETING', 'ERASING')),
  add column delete_time timestamptz,
  add column erase_time timestamptz,
  add check (state = 'ACTIVE' or tenant_id <> 'default');
comment on column latchkey.tenant.state is 'DELETING: nobody may call any more, its tokens are being revoked. ERASING: its data keys are destroyed, its rows are being removed.';
comment on column latchkey.tenant.erase_time is 'When its data keys are destroyed at the latest, or were.';
create index tenant_ending on latchkey.tenant (erase_time) where state <> 'ACTIVE';

create table latchkey.deleted_tenant (
  tenant_id text primary key,
  delete_time timestamptz not null
);
comment on table latchkey.deleted_tenant is 'Ids of tenants that were deleted, of which nothing else is left: no token makes one anew.';
grant select, insert, delete on latchkey.deleted_tenant to latchkey_service;

alter table latchkey.app_user
  add column version integer not null default 1,
  add column delete_time timestamptz;
comment on column latchkey.app_user.delete_time is 'Set: deleted, under an issuer that no token has; the row stays until nothing refers to it any more.';

alter table latchkey.api_key add column creator_user_id text collate "C" not null default '';
`;

/** The owner of a table sees no row of it while its policies are forced. */
const CREATORS = `
alter table latchkey.audit_entry disable row level security;
alter table latchkey.api_key disable row level security;
update latchkey.api_key k set creator_user_id = a.actor_id
  from latchkey.audit_entry a
 where a.tenant_id = k.tenant_id and a.resource_id = k.id and a.action = 'api_key_created' and a.actor_kind = 'user';
alter table latchkey.api_key enable row level security;
alter table latchkey.audit_entry enable row level security;
`;

/** Mostly definitions of before, which now know that a tenant can be on its way out. */
const FUNCTIONS = `
create or replace function latchkey.read_api_key(p_tenant text, p_id text)
returns table (scopes text[], project_ids text[], operator boolean, expire_time timestamptz, revoke_time timestamptz) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query select k.scopes, k.project_ids, k.operator, k.expire_time, k.revoke_time
    from latchkey.api_key k join latchkey.tenant t on t.tenant_id = k.tenant_id and t.state = 'ACTIVE'
    where k.tenant_id = p_tenant and k.id = p_id;
end $$;

create or replace function latchkey.append_audit(p_tenant text, p_entries jsonb) returns void language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  -- A tenant that is gone has no log.
  perform from latchkey.tenant t where t.tenant_id = p_tenant for key share;
  if not found then
    return;
  end if;
  -- A batch is written whole or not at all: its first entry tells whether it was, before the answer was lost.
  if exists (select from latchkey.audit_entry a where a.tenant_id = p_tenant and a.id = p_entries -> 'id' ->> 0) then
    return;
  end if;
  insert into latchkey.audit_entry (tenant_id, id, actor_kind, actor_id, on_behalf_of, action, resource_type, resource_id, request_id, address, create_time)
    select p_tenant, jsonb_array_elements_text(p_entries -> 'id'), jsonb_array_elements_text(p_entries -> 'actorKind'), jsonb_array_elements_text(p_entries -> 'actorId'),
      jsonb_array_elements_text(p_entries -> 'onBehalfOf'), jsonb_array_elements_text(p_entries -> 'action'), jsonb_array_elements_text(p_entries -> 'resourceType'),
      jsonb_array_elements_text(p_entries -> 'resourceId'), jsonb_array_elements_text(p_entries -> 'requestId'), jsonb_array_elements_text(p_entries -> 'address'),
      to_timestamp(jsonb_array_elements_text(p_entries -> 'time')::float8 / 1000.0);
end $$;

create function latchkey.read_user(p_tenant text, p_id text) returns table (assigned_roles text[]) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query select u.assigned_roles
    from latchkey.app_user u join latchkey.tenant t on t.tenant_id = u.tenant_id and t.state = 'ACTIVE'
    where u.tenant_id = p_tenant and u.id = p_id and u.delete_time is null;
end $$;

create or replace function latchkey.add_data_key(p_tenant text, p_id text, p_wrapped bytea, p_master_key_name text, p_limit bigint)
returns void language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  perform from latchkey.tenant t where t.tenant_id = p_tenant for update;
  -- A tenant whose keys were destroyed gets no new one.
  if exists (select from latchkey.tenant t where t.tenant_id = p_tenant and t.state = 'ERASING') then
    return;
  end if;
  if exists (select from latchkey.data_key d where d.tenant_id = p_tenant and d.active and d.seals < p_limit) then
    return;
  end if;
  update latchkey.data_key d set active = false where d.tenant_id = p_tenant and d.active;
  insert into latchkey.data_key (tenant_id, id, wrapped, master_key_name, active) values (p_tenant, p_id, p_wrapped, p_master_key_name, true);
end $$;

create or replace function latchkey.route_authorization_ticket(p_hash bytea) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' as $$
  select a.tenant_id, a.id from latchkey.app_authorization a join latchkey.tenant t on t.tenant_id = a.tenant_id and t.state = 'ACTIVE' where a.ticket_hash = p_hash
$$;

create or replace function latchkey.route_authorization_state(p_hash bytea) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' as $$
  select a.tenant_id, a.id from latchkey.app_authorization a join latchkey.tenant t on t.tenant_id = a.tenant_id and t.state = 'ACTIVE' where a.state_hash = p_hash
$$;

create or replace function latchkey.route_inbound_endpoint(p_id text) returns table (tenant_id text)
language sql stable security definer set search_path = '' as $$
  select e.tenant_id from latchkey.inbound_endpoint e join latchkey.tenant t on t.tenant_id = e.tenant_id and t.state = 'ACTIVE' where e.id = p_id
$$;

-- Tenants whose removal should be over, or at its last step, and of which something may have kept it.
create function latchkey.route_overdue_tenants(p_late_ms integer, p_limit integer) returns table (tenant_id text)
language sql stable security definer set search_path = '' as $$
  select t.tenant_id from latchkey.tenant t where t.state <> 'ACTIVE' and t.erase_time < clock_timestamp() - p_late_ms * interval '1 ms' order by t.erase_time limit p_limit
$$;

-- Removes what the service itself may not remove: of a tenant that is being erased and has no data key any more, so that no log goes without all that it tells of. Answers how many rows; 0: there are none.
create function latchkey.erase_tenant_log(p_tenant text, p_limit integer) returns integer language plpgsql security definer set search_path = '' as $$
declare
  v_erased integer;
begin
  if not exists (select from latchkey.tenant t where t.tenant_id = p_tenant and t.state = 'ERASING') or exists (select from latchkey.data_key d where d.tenant_id = p_tenant) then
    return 0;
  end if;
  delete from latchkey.outbox o using (select e.id from latchkey.outbox e where e.tenant_id = p_tenant limit p_limit) old where o.tenant_id = p_tenant and o.id = old.id;
  get diagnostics v_erased = row_count;
  if v_erased = 0 then
    delete from latchkey.audit_seal s using (select e.first_sequence from latchkey.audit_seal e where e.tenant_id = p_tenant limit p_limit) old
     where s.tenant_id = p_tenant and s.first_sequence = old.first_sequence;
    get diagnostics v_erased = row_count;
  end if;
  if v_erased = 0 then
    delete from latchkey.audit_entry a using (select e.id from latchkey.audit_entry e where e.tenant_id = p_tenant limit p_limit) old where a.tenant_id = p_tenant and a.id = old.id;
    get diagnostics v_erased = row_count;
  end if;
  return v_erased;
end $$;
`;

const ROUTING_FUNCTIONS = ['route_overdue_tenants(integer, integer)', 'erase_tenant_log(text, integer)'];
const NEW = ['read_user(text, text)', ...ROUTING_FUNCTIONS].map((signature) => `latchkey.${signature}`).join(', ');

/** The log of a tenant can be removed while the tenant is being erased, and never else. */
const erasing = (table: string) => `
create policy erasing on latchkey.${table} to latchkey_router
  using (exists (select from latchkey.tenant t where t.tenant_id = ${table}.tenant_id and t.state = 'ERASING'));`;

const GRANTS = `
grant select (state, delete_time, erase_time) on latchkey.tenant to latchkey_router;
grant select (tenant_id) on latchkey.data_key to latchkey_router;
create policy routing on latchkey.data_key for select to latchkey_router using (true);
grant select (tenant_id, id), delete on latchkey.audit_entry to latchkey_router;
grant select (tenant_id, first_sequence), delete on latchkey.audit_seal to latchkey_router;
${['audit_entry', 'audit_seal'].map(erasing).join('\n')}
revoke execute on function ${NEW} from public;
grant execute on function ${NEW} to latchkey_service;
${ownedByRouter(ROUTING_FUNCTIONS)}
`;

/** Users and tenants can be deleted; users have versions, and keys their makers. */
export class Migration0015Removal extends Migration {
  override name = '0015-removal';

  override up(): void {
    for (const sql of [TABLES, CREATORS, FUNCTIONS, tenantPolicy('deleted_tenant'), GRANTS]) this.addSql(sql);
  }
}
