import { Migration } from '@mikro-orm/migrations';
import { tenantPolicy } from './tenant-policy.ts';

const TABLES = `
create table latchkey.connector (
  tenant_id text collate "C" not null references latchkey.tenant,
  id text collate "C" not null,
  project_id text collate "C",
  name text collate "C" not null,
  display_name text not null,
  type text collate "C" not null,
  config jsonb not null,
  version integer not null,
  create_time timestamptz not null,
  update_time timestamptz not null,
  primary key (tenant_id, id),
  constraint connector_name unique nulls not distinct (tenant_id, project_id, name)
);
comment on table latchkey.connector is 'Instances of types of connectors.';
create index connector_by_name on latchkey.connector (tenant_id, name, id);

create table latchkey.connector_state (
  tenant_id text collate "C" not null,
  connector_id text collate "C" not null,
  state jsonb not null,
  update_time timestamptz not null,
  primary key (tenant_id, connector_id),
  foreign key (tenant_id, connector_id) references latchkey.connector (tenant_id, id) on delete cascade
);
comment on table latchkey.connector_state is 'What connectors that simulate a system have in it. Whoever changes it locks the row.';

grant select, insert, update, delete on latchkey.connector, latchkey.connector_state to latchkey_service;
`;

/** Connectors. */
export class Migration0014Connectors extends Migration {
  override name = '0014-connectors';

  override up(): void {
    for (const sql of [TABLES, ...['connector', 'connector_state'].map(tenantPolicy)]) this.addSql(sql);
  }
}
