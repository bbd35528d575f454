import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter, tenantPolicy } from './tenant-policy.ts';

const TABLES = `
create table latchkey.provider_account (
  tenant_id text not null references latchkey.tenant,
  id text collate "C" not null,
  provider text collate "C" not null,
  base_url text not null,
  owner_user_id text collate "C",
  integration_id text collate "C",
  connection_id text collate "C",
  status text not null,
  username text not null,
  remote_id text not null,
  sealed bytea not null,
  generation integer not null,
  lease_until timestamptz,
  lease_epoch integer not null,
  verify_time timestamptz,
  user_service text not null,
  create_time timestamptz not null,
  update_time timestamptz not null,
  primary key (tenant_id, id),
  foreign key (tenant_id, owner_user_id) references latchkey.app_user (tenant_id, id),
  foreign key (tenant_id, integration_id) references latchkey.integration (tenant_id, id) on delete set null (integration_id),
  foreign key (tenant_id, connection_id) references latchkey.connection (tenant_id, id) on delete set null (connection_id)
);
comment on table latchkey.provider_account is 'Accounts that Latchkey makes at providers. Who works on one holds its lease, by the clock of the database.';
create unique index provider_account_owner on latchkey.provider_account (tenant_id, provider, base_url, coalesce(owner_user_id, ''));
create index provider_account_by_connection on latchkey.provider_account (tenant_id, connection_id);
create index provider_account_by_integration on latchkey.provider_account (tenant_id, integration_id);
create index provider_account_by_remote_id on latchkey.provider_account (remote_id);
grant select, insert, update, delete on latchkey.provider_account to latchkey_service;
grant select (tenant_id, provider, base_url, remote_id) on latchkey.provider_account to latchkey_router;
create policy routing on latchkey.provider_account for select to latchkey_router using (true);

-- Whether another tenant has an account as its own: a user-service knows users alone, and no tenants.
create function latchkey.account_is_anothers(p_tenant text, p_provider text, p_base_url text, p_remote_id text) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (select from latchkey.provider_account a
    where a.remote_id = p_remote_id and a.provider = p_provider and a.base_url = p_base_url and a.tenant_id <> p_tenant)
$$;
revoke execute on function latchkey.account_is_anothers(text, text, text, text) from public;
grant execute on function latchkey.account_is_anothers(text, text, text, text) to latchkey_service;
${ownedByRouter(['account_is_anothers(text, text, text, text)'])}
`;

/** Accounts that Latchkey makes at providers. */
export class Migration0005Accounts extends Migration {
  override name = '0005-accounts';

  override up(): void {
    for (const sql of [TABLES, tenantPolicy('provider_account')]) this.addSql(sql);
  }
}
