import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter, tenantPolicy } from './tenant-policy.ts';

/** Tables that every row of which belongs to a tenant: row-level security on each, forced on the owner too. */
const TENANT_TABLES = [
  'tenant',
  'data_key',
  'app_user',
  'api_key',
  'secret',
  'connection',
  'credential',
  'credential_secret_ref',
  'request_memo',
  'audit_entry',
  'outbox',
];

const TABLES = `
create table latchkey.installation (
  singleton boolean primary key default true check (singleton),
  id text not null,
  master_key_name text not null,
  wrapped_secret bytea not null,
  create_time timestamptz not null
);
comment on table latchkey.installation is 'One row: a secret of the installation, wrapped with the master key. It opens only for a process that has the right key.';

create table latchkey.replica (
  id text primary key,
  master_key_names text[] not null,
  start_time timestamptz not null default clock_timestamp(),
  heartbeat_time timestamptz not null default clock_timestamp()
);
comment on table latchkey.replica is 'Processes that run, with the names of the master keys they know.';

create table latchkey.tenant (
  tenant_id text primary key check (tenant_id <> ''),
  display_name text not null,
  create_time timestamptz not null
);

create table latchkey.data_key (
  tenant_id text not null references latchkey.tenant,
  id text not null,
  wrapped bytea not null,
  master_key_name text not null,
  active boolean not null,
  seals bigint not null default 0,
  create_time timestamptz not null default now(),
  primary key (tenant_id, id)
);
create unique index data_key_active on latchkey.data_key (tenant_id) where active;

create table latchkey.app_user (
  tenant_id text not null references latchkey.tenant,
  id text not null,
  issuer text not null,
  subject text not null,
  email text not null,
  display_name text not null,
  assigned_roles text[] not null,
  mapped_roles text[] not null,
  create_time timestamptz not null,
  last_seen_at timestamptz not null,
  primary key (tenant_id, id),
  constraint app_user_subject unique (tenant_id, issuer, subject)
);

create table latchkey.api_key (
  tenant_id text not null references latchkey.tenant,
  id text not null,
  display_name text not null,
  hash bytea not null,
  scopes text[] not null,
  project_ids text[] not null,
  operator boolean not null,
  create_time timestamptz not null,
  expire_time timestamptz,
  revoke_time timestamptz,
  primary key (tenant_id, id)
);
create index api_key_id on latchkey.api_key (id);

create table latchkey.secret (
  tenant_id text not null references latchkey.tenant,
  id text not null,
  name text collate "C" not null,
  project_id text collate "C",
  value bytea not null,
  generation integer not null,
  create_time timestamptz not null,
  update_time timestamptz not null,
  primary key (tenant_id, id),
  constraint secret_name unique nulls not distinct (tenant_id, project_id, name)
);
create index secret_by_name on latchkey.secret (tenant_id, name, id);

create table latchkey.connection (
  tenant_id text not null references latchkey.tenant,
  id text collate "C" not null,
  project_id text,
  owner_user_id text,
  name text collate "C" not null,
  display_name text not null,
  provider text not null,
  kind text not null,
  base_url text not null,
  default_headers jsonb not null,
  timeout_ms integer not null,
  retries integer not null,
  backoff_ms integer not null,
  is_default boolean not null,
  labels jsonb not null,
  metadata jsonb not null,
  config jsonb not null,
  provider_account_id text not null,
  provider_account_email text not null,
  provider_account_metadata jsonb not null,
  webhook_signature_secret bytea,
  enabled boolean not null,
  version integer not null,
  last_tested_at timestamptz,
  last_used_at timestamptz,
  create_time timestamptz not null,
  update_time timestamptz not null,
  primary key (tenant_id, id),
  constraint connection_name unique nulls not distinct (tenant_id, project_id, name),
  foreign key (tenant_id, owner_user_id) references latchkey.app_user (tenant_id, id)
);
create unique index connection_default on latchkey.connection (tenant_id, project_id, owner_user_id, kind) nulls not distinct where is_default;
create index connection_by_update_time on latchkey.connection (tenant_id, update_time, id);
create index connection_by_name on latchkey.connection (tenant_id, name, id);
create index connection_by_project on latchkey.connection (tenant_id, project_id, id);
create index connection_by_owner on latchkey.connection (tenant_id, owner_user_id, id) where owner_user_id is not null;

create table latchkey.credential (
  tenant_id text not null references latchkey.tenant,
  connection_id text collate "C" not null,
  fields jsonb not null,
  sealed bytea not null,
  generation integer not null,
  expire_time timestamptz,
  primary key (tenant_id, connection_id),
  foreign key (tenant_id, connection_id) references latchkey.connection (tenant_id, id) on delete cascade
);

create table latchkey.credential_secret_ref (
  tenant_id text not null references latchkey.tenant,
  connection_id text collate "C" not null,
  field text not null,
  secret_name text collate "C" not null,
  secret_id text,
  primary key (tenant_id, connection_id, field),
  foreign key (tenant_id, connection_id) references latchkey.connection (tenant_id, id) on delete cascade,
  foreign key (tenant_id, secret_id) references latchkey.secret (tenant_id, id) on delete set null (secret_id)
);
create index credential_secret_ref_by_secret on latchkey.credential_secret_ref (tenant_id, secret_id);
create index credential_secret_ref_dangling on latchkey.credential_secret_ref (tenant_id, secret_name) where secret_id is null;

create table latchkey.request_memo (
  tenant_id text not null references latchkey.tenant,
  caller text not null,
  method text not null,
  request_id text not null,
  request_hash bytea not null,
  resource_id text not null,
  create_time timestamptz not null,
  primary key (tenant_id, caller, method, request_id)
);
create index request_memo_by_time on latchkey.request_memo (tenant_id, create_time);

create table latchkey.audit_entry (
  tenant_id text not null,
  id text collate "C" not null,
  actor_kind text not null,
  actor_id text not null,
  on_behalf_of text not null,
  action text not null,
  resource_type text not null,
  resource_id text not null,
  before jsonb,
  after jsonb,
  request_id text not null,
  address text not null,
  create_time timestamptz not null,
  primary key (tenant_id, id)
);

create table latchkey.outbox (
  tenant_id text not null,
  id text not null,
  type text not null,
  aggregate_type text not null,
  aggregate_id text not null,
  generation integer not null,
  payload jsonb not null,
  create_time timestamptz not null,
  primary key (tenant_id, id)
);
`;

/**
 * The hot path's statements, one round trip each: they enter the service's role and the tenant for their transaction, then read under its
 * policies. Those that must start without a tenant (`route_*`) are SECURITY DEFINER of a role that may read routing columns and nothing else.
 */
const FUNCTIONS = `
create function latchkey.enter(p_tenant text) returns void language sql as $$
  select set_config('role', 'latchkey_service', true), set_config('latchkey.tenant', p_tenant, true)
$$;

create function latchkey.read_credential(p_tenant text, p_connection text)
returns table (project_id text, owner_user_id text, kind text, enabled boolean, fields jsonb, sealed bytea, generation integer, expire_time timestamptz, refs jsonb)
language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query
    select c.project_id, c.owner_user_id, c.kind, c.enabled, k.fields, k.sealed, k.generation, k.expire_time,
      (select jsonb_agg(jsonb_build_object('field', r.field, 'name', r.secret_name, 'secretId', r.secret_id, 'generation', s.generation, 'value', encode(s.value, 'base64')))
         from latchkey.credential_secret_ref r
         left join latchkey.secret s on s.tenant_id = r.tenant_id and s.id = r.secret_id
        where r.tenant_id = p_tenant and r.connection_id = p_connection)
    from latchkey.connection c
    join latchkey.credential k on k.tenant_id = c.tenant_id and k.connection_id = c.id
    where c.tenant_id = p_tenant and c.id = p_connection;
end $$;

create function latchkey.read_data_key(p_tenant text, p_id text)
returns table (id text, wrapped bytea, master_key_name text) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query select d.id, d.wrapped, d.master_key_name from latchkey.data_key d where d.tenant_id = p_tenant and d.id = p_id;
end $$;

create function latchkey.reserve_data_key(p_tenant text, p_seals bigint, p_limit bigint)
returns table (id text, wrapped bytea, master_key_name text) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query update latchkey.data_key d set seals = d.seals + p_seals
    where d.tenant_id = p_tenant and d.active and d.seals + p_seals <= p_limit
    returning d.id, d.wrapped, d.master_key_name;
end $$;

create function latchkey.add_data_key(p_tenant text, p_id text, p_wrapped bytea, p_master_key_name text, p_limit bigint)
returns void language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  perform from latchkey.tenant t where t.tenant_id = p_tenant for update;
  if exists (select from latchkey.data_key d where d.tenant_id = p_tenant and d.active and d.seals < p_limit) then
    return;
  end if;
  update latchkey.data_key d set active = false where d.tenant_id = p_tenant and d.active;
  insert into latchkey.data_key (tenant_id, id, wrapped, master_key_name, active) values (p_tenant, p_id, p_wrapped, p_master_key_name, true);
end $$;

create function latchkey.append_audit(p_tenant text, p_entries json) returns void language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  -- A batch is written whole or not at all: its first entry tells whether it was, before the answer was lost.
  if exists (select from latchkey.audit_entry a where a.tenant_id = p_tenant and a.id = p_entries -> 0 ->> 'id') then
    return;
  end if;
  insert into latchkey.audit_entry (tenant_id, id, actor_kind, actor_id, on_behalf_of, action, resource_type, resource_id, request_id, address, create_time)
    select p_tenant, e.id, e."actorKind", e."actorId", e."onBehalfOf", e.action, e."resourceType", e."resourceId", e."requestId", e.address, to_timestamp(e.time / 1000.0)
      from json_to_recordset(p_entries) as e(id text, "actorKind" text, "actorId" text, "onBehalfOf" text, action text, "resourceType" text, "resourceId" text, "requestId" text, address text, time float8);
end $$;

create function latchkey.mark_used(p_tenant text, p_connections text[], p_at timestamptz) returns void language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  update latchkey.connection c set last_used_at = p_at
    from (select id from latchkey.connection where tenant_id = p_tenant and id = any (p_connections) order by id for update) locked
    where c.tenant_id = p_tenant and c.id = locked.id;
end $$;

create function latchkey.read_api_key(p_tenant text, p_id text)
returns table (scopes text[], project_ids text[], operator boolean, expire_time timestamptz, revoke_time timestamptz) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query select k.scopes, k.project_ids, k.operator, k.expire_time, k.revoke_time
    from latchkey.api_key k where k.tenant_id = p_tenant and k.id = p_id;
end $$;

create function latchkey.route_api_key(p_id text) returns table (tenant_id text, hash bytea)
language sql stable security definer set search_path = '' as $$
  select k.tenant_id, k.hash from latchkey.api_key k where k.id = p_id
$$;

create function latchkey.route_tenants(p_after text, p_limit integer, p_skip integer) returns table (tenant_id text, display_name text, create_time timestamptz)
language sql stable security definer set search_path = '' as $$
  select t.tenant_id, t.display_name, t.create_time from latchkey.tenant t where t.tenant_id > p_after order by t.tenant_id limit p_limit offset p_skip
$$;

create function latchkey.count_tenants() returns bigint
language sql stable security definer set search_path = '' as $$ select count(*) from latchkey.tenant $$;
`;

const ROUTING_FUNCTIONS = ['route_api_key(text)', 'route_tenants(text, integer, integer)', 'count_tenants()'];

/** Both roles exist for the whole database server: another installation beside this one may have made them. */
const ROLES = ['latchkey_service', 'latchkey_router'].map(
  (role) => `
do $$ begin
  if not exists (select from pg_roles where rolname = '${role}') then create role ${role} nologin; end if;
exception when duplicate_object or unique_violation then null;
end $$;
do $$ begin
  if not pg_has_role(current_user, '${role}', 'member') then execute format('grant ${role} to %I', current_user); end if;
end $$;`,
);

const ROUTER = `
grant select (tenant_id, display_name, create_time) on latchkey.tenant to latchkey_router;
grant select (tenant_id, id, hash) on latchkey.api_key to latchkey_router;
create policy routing on latchkey.tenant for select to latchkey_router using (true);
create policy routing on latchkey.api_key for select to latchkey_router using (true);
${ownedByRouter(ROUTING_FUNCTIONS)}
`;

const GRANTS = `
grant usage on schema latchkey to latchkey_service;
grant select, insert, update, delete on all tables in schema latchkey to latchkey_service;
revoke update, delete on latchkey.audit_entry, latchkey.outbox from latchkey_service;
revoke insert, update, delete on latchkey.migration from latchkey_service;
revoke execute on all functions in schema latchkey from public;
grant execute on all functions in schema latchkey to latchkey_service;
`;

/** The ground: tenants, identities, keys, secrets, connections, audit and outbox. */
export class Migration0001Ground extends Migration {
  override name = '0001-ground';

  override up(): void {
    for (const sql of [...ROLES, TABLES, FUNCTIONS, ...TENANT_TABLES.map(tenantPolicy), GRANTS, ROUTER])
      this.addSql(sql);
  }
}
