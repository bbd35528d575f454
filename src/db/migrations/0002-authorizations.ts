import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter, tenantPolicy } from './tenant-policy.ts';

const TENANT_TABLES = ['provider', 'integration', 'integration_secret', 'app_authorization', 'revocation'];

const TABLES = `
alter table latchkey.replica add column worker_ids text[] not null default '{}';

create table latchkey.provider (
  tenant_id text not null references latchkey.tenant,
  name text collate "C" not null,
  definition jsonb not null,
  version integer not null,
  create_time timestamptz not null,
  update_time timestamptz not null,
  primary key (tenant_id, name)
);
comment on table latchkey.provider is 'Providers of a tenant''s own.';

create table latchkey.integration (
  tenant_id text not null references latchkey.tenant,
  id text collate "C" not null,
  provider text collate "C" not null,
  display_name text not null,
  enabled boolean not null,
  settings jsonb not null,
  scopes jsonb not null,
  required_scopes jsonb not null,
  return_urls jsonb not null,
  redirect_path text not null,
  resource text not null,
  app_group text not null,
  app_group_id text not null,
  apps jsonb not null,
  sync_action text not null,
  auto_create_users boolean not null,
  client_id text not null,
  last_error text not null,
  last_error_time timestamptz,
  version integer not null,
  create_time timestamptz not null,
  update_time timestamptz not null,
  primary key (tenant_id, id)
);
create index integration_by_provider on latchkey.integration (tenant_id, provider, id);

create table latchkey.integration_secret (
  tenant_id text not null references latchkey.tenant,
  id text not null,
  integration_id text collate "C" not null,
  position integer not null,
  value bytea not null,
  create_time timestamptz not null,
  primary key (tenant_id, id),
  constraint integration_secret_position unique (tenant_id, integration_id, position),
  foreign key (tenant_id, integration_id) references latchkey.integration (tenant_id, id) on delete cascade
);

alter table latchkey.connection
  add column integration_id text collate "C",
  add column status text not null default 'ACTIVE',
  add column status_reason text not null default '',
  add column requested_scopes jsonb not null default '[]',
  add column granted_scopes jsonb not null default '[]',
  add column missing_scopes jsonb not null default '[]',
  add foreign key (tenant_id, integration_id) references latchkey.integration (tenant_id, id);
alter table latchkey.connection alter column status drop default, alter column status_reason drop default,
  alter column requested_scopes drop default, alter column granted_scopes drop default, alter column missing_scopes drop default;
create index connection_by_integration on latchkey.connection (tenant_id, integration_id, id) where integration_id is not null;
create index connection_by_provider on latchkey.connection (tenant_id, provider, id);

alter table latchkey.credential
  add column refresh_expire_time timestamptz,
  add column lifetime_s integer;
create index credential_by_expire_time on latchkey.credential (tenant_id, expire_time) where expire_time is not null;

create table latchkey.app_authorization (
  tenant_id text not null references latchkey.tenant,
  id text collate "C" not null,
  integration_id text collate "C" not null,
  connection_id text collate "C" not null,
  method text not null,
  status text not null,
  reason text not null,
  provider_error text not null,
  starter jsonb not null,
  owner_by_email boolean not null,
  allow_account_change boolean not null,
  requested_scopes jsonb not null,
  missing_scopes jsonb not null,
  return_url text not null,
  login_hint text not null,
  redirect_uri text not null,
  ticket_hash bytea,
  state_hash bytea,
  browser_hash bytea,
  code_hash bytea,
  sealed bytea,
  device jsonb,
  claim_time timestamptz,
  expire_time timestamptz not null,
  create_time timestamptz not null,
  update_time timestamptz not null,
  primary key (tenant_id, id),
  foreign key (tenant_id, integration_id) references latchkey.integration (tenant_id, id) on delete cascade,
  foreign key (tenant_id, connection_id) references latchkey.connection (tenant_id, id) on delete cascade
);
create unique index app_authorization_ticket on latchkey.app_authorization (ticket_hash, tenant_id) where ticket_hash is not null;
create unique index app_authorization_state on latchkey.app_authorization (state_hash, tenant_id) where state_hash is not null;
create index app_authorization_by_connection on latchkey.app_authorization (tenant_id, connection_id);

create table latchkey.revocation (
  tenant_id text not null references latchkey.tenant,
  id text not null,
  connection_id text not null,
  provider text not null,
  request jsonb not null,
  sealed bytea,
  status text not null,
  attempts integer not null,
  last_error text not null,
  create_time timestamptz not null,
  settle_time timestamptz,
  primary key (tenant_id, id)
);
comment on table latchkey.revocation is 'Tokens that are to be revoked at their provider. Outlives the connection that had them.';
`;

const FUNCTIONS = `
drop function latchkey.read_credential(text, text);
create function latchkey.read_credential(p_tenant text, p_connection text)
returns table (project_id text, owner_user_id text, kind text, enabled boolean, provider text, status text, status_reason text, integration_id text, integration_enabled boolean,
  required_scopes jsonb, missing_scopes jsonb, granted_scopes jsonb, fields jsonb, sealed bytea, generation integer, expire_time timestamptz, lifetime_s integer, refs jsonb)
language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query
    select c.project_id, c.owner_user_id, c.kind, c.enabled, c.provider, c.status, c.status_reason, c.integration_id, i.enabled,
      i.required_scopes, c.missing_scopes, c.granted_scopes, k.fields, k.sealed, k.generation, k.expire_time, k.lifetime_s,
      (select jsonb_agg(jsonb_build_object('field', r.field, 'name', r.secret_name, 'secretId', r.secret_id, 'generation', s.generation, 'value', encode(s.value, 'base64')))
         from latchkey.credential_secret_ref r
         left join latchkey.secret s on s.tenant_id = r.tenant_id and s.id = r.secret_id
        where r.tenant_id = p_tenant and r.connection_id = p_connection)
    from latchkey.connection c
    left join latchkey.credential k on k.tenant_id = c.tenant_id and k.connection_id = c.id
    left join latchkey.integration i on i.tenant_id = c.tenant_id and i.id = c.integration_id
    where c.tenant_id = p_tenant and c.id = p_connection;
end $$;

create function latchkey.route_authorization_ticket(p_hash bytea) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' as $$
  select a.tenant_id, a.id from latchkey.app_authorization a where a.ticket_hash = p_hash
$$;

create function latchkey.route_authorization_state(p_hash bytea) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' as $$
  select a.tenant_id, a.id from latchkey.app_authorization a where a.state_hash = p_hash
$$;
`;

const ROUTING_FUNCTIONS = ['route_authorization_ticket(bytea)', 'route_authorization_state(bytea)'];

const GRANTS = `
grant select, insert, update, delete on ${TENANT_TABLES.map((table) => `latchkey.${table}`).join(', ')} to latchkey_service;
revoke execute on function latchkey.read_credential(text, text), ${ROUTING_FUNCTIONS.map((signature) => `latchkey.${signature}`).join(', ')} from public;
grant execute on function latchkey.read_credential(text, text), ${ROUTING_FUNCTIONS.map((signature) => `latchkey.${signature}`).join(', ')} to latchkey_service;
grant select (tenant_id, id, ticket_hash, state_hash) on latchkey.app_authorization to latchkey_router;
create policy routing on latchkey.app_authorization for select to latchkey_router using (true);
${ownedByRouter(ROUTING_FUNCTIONS)}
`;

/** Providers and integrations, authorizations, and tokens that they yield. */
export class Migration0002Authorizations extends Migration {
  override name = '0002-authorizations';

  override up(): void {
    for (const sql of [TABLES, FUNCTIONS, ...TENANT_TABLES.map(tenantPolicy), GRANTS]) this.addSql(sql);
  }
}
