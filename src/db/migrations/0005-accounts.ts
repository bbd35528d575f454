import { Migration } from '@mikro-orm/migrations';
import { tenantPolicy } from './tenant-policy.ts';

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
  reported boolean not null,
  create_time timestamptz not null,
  update_time timestamptz not null,
  primary key (tenant_id, id),
  foreign key (tenant_id, owner_user_id) references latchkey.app_user (tenant_id, id),
  foreign key (tenant_id, integration_id) references latchkey.integration (tenant_id, id) on delete set null (integration_id),
  foreign key (tenant_id, connection_id) references latchkey.connection (tenant_id, id) on delete set null (connection_id)
);
comment on table latchkey.provider_account is 'Accounts that Latchkey makes at providers. Who works on one holds its lease, by the clock of the database.';
create unique index provider_account_owner on latchkey.provider_account (tenant_id, provider, base_url, coalesce(owner_user_id, ''));
grant select, insert, update, delete on latchkey.provider_account to latchkey_service;
`;

/** Accounts that Latchkey makes at providers. */
export class Migration0005Accounts extends Migration {
  override name = '0005-accounts';

  override up(): void {
    for (const sql of [TABLES, tenantPolicy('provider_account')]) this.addSql(sql);
  }
}
