import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter, tenantPolicy } from './tenant-policy.ts';

const TABLES = `
create table latchkey.inbound_endpoint (
  tenant_id text not null references latchkey.tenant,
  id text collate "C" not null,
  project_id text collate "C",
  owner_user_id text collate "C",
  connection_id text collate "C",
  provider text collate "C" not null,
  name text collate "C" not null,
  enabled boolean not null,
  verification jsonb not null,
  signing_secrets bytea,
  signing_secret_count integer not null,
  secret_generation integer not null,
  max_body_bytes integer not null,
  max_per_minute integer not null,
  retention_days integer not null,
  keep_headers jsonb not null,
  version integer not null,
  create_time timestamptz not null,
  update_time timestamptz not null,
  primary key (tenant_id, id),
  constraint inbound_endpoint_name unique nulls not distinct (tenant_id, project_id, name),
  foreign key (tenant_id, owner_user_id) references latchkey.app_user (tenant_id, id),
  foreign key (tenant_id, connection_id) references latchkey.connection (tenant_id, id) on delete set null (connection_id)
);
comment on table latchkey.inbound_endpoint is 'Where third parties send webhooks to.';
create index inbound_endpoint_by_id on latchkey.inbound_endpoint (id);
create index inbound_endpoint_by_name on latchkey.inbound_endpoint (tenant_id, name, id);
create index inbound_endpoint_by_connection on latchkey.inbound_endpoint (tenant_id, connection_id);

create table latchkey.inbound_message (
  tenant_id text not null references latchkey.tenant,
  id text collate "C" not null,
  endpoint_id text collate "C" not null,
  repeat_key bytea,
  sender_id text not null,
  content_type text not null,
  body_bytes integer not null,
  content bytea not null,
  replay_count integer not null,
  last_replay_time timestamptz,
  receive_time timestamptz not null,
  expire_time timestamptz not null,
  primary key (tenant_id, id),
  constraint inbound_message_repeat unique (tenant_id, endpoint_id, repeat_key)
);
comment on table latchkey.inbound_message is 'What third parties sent. A message whose endpoint was deleted is seen by nobody, and is deleted by a job.';
create index inbound_message_by_endpoint on latchkey.inbound_message (tenant_id, endpoint_id, id);
create index inbound_message_by_expire_time on latchkey.inbound_message (expire_time);

grant select, insert, update, delete on latchkey.inbound_endpoint, latchkey.inbound_message to latchkey_service;
`;

/** One round trip stores a message and its event, in one transaction. Two of one key at once wait for each other at the unique index. */
const FUNCTIONS = `
create function latchkey.read_inbound_endpoint(p_tenant text, p_id text)
returns table (enabled boolean, verification jsonb, signing_secrets bytea, secret_generation integer, max_body_bytes integer, max_per_minute integer, retention_days integer, keep_headers jsonb)
language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query select e.enabled, e.verification, e.signing_secrets, e.secret_generation, e.max_body_bytes, e.max_per_minute, e.retention_days, e.keep_headers
    from latchkey.inbound_endpoint e where e.tenant_id = p_tenant and e.id = p_id;
end $$;

create function latchkey.receive_inbound_message(p_tenant text, p_message json, p_repeat_key bytea, p_content bytea)
returns table (outcome text, message_id text) language plpgsql as $$
declare
  v_endpoint record;
begin
  perform latchkey.enter(p_tenant);
  select e.id, e.project_id, e.owner_user_id, e.connection_id, e.provider into v_endpoint
    from latchkey.inbound_endpoint e where e.tenant_id = p_tenant and e.id = p_message ->> 'endpointId' and e.enabled;
  if not found then
    return query select 'unknown', '';
    return;
  end if;
  insert into latchkey.inbound_message (tenant_id, id, endpoint_id, repeat_key, sender_id, content_type, body_bytes, content, replay_count, receive_time, expire_time)
    values (p_tenant, p_message ->> 'id', v_endpoint.id, p_repeat_key, p_message ->> 'senderId', p_message ->> 'contentType', (p_message ->> 'bodyBytes')::integer, p_content, 0,
      (p_message ->> 'receiveTime')::timestamptz, (p_message ->> 'expireTime')::timestamptz)
    on conflict do nothing;
  if not found then
    return query select 'repeat', coalesce((select m.id from latchkey.inbound_message m where m.tenant_id = p_tenant and m.endpoint_id = v_endpoint.id and m.repeat_key = p_repeat_key), '');
    return;
  end if;
  insert into latchkey.outbox (tenant_id, id, type, aggregate_type, aggregate_id, generation, owner_user_id, project_id, payload, create_time)
    values (p_tenant, p_message ->> 'eventId', 'inbound_message.received', 'inbound_message', p_message ->> 'id', 1, v_endpoint.owner_user_id, v_endpoint.project_id,
      jsonb_build_object('message_id', p_message ->> 'id', 'endpoint_id', v_endpoint.id, 'project_id', v_endpoint.project_id, 'connection_id', v_endpoint.connection_id,
        'provider', v_endpoint.provider, 'replay', 0),
      (p_message ->> 'receiveTime')::timestamptz);
  return query select 'stored', p_message ->> 'id';
end $$;

create function latchkey.route_inbound_endpoint(p_id text) returns table (tenant_id text)
language sql stable security definer set search_path = '' as $$
  select e.tenant_id from latchkey.inbound_endpoint e where e.id = p_id
$$;

create function latchkey.route_expired_inbound_messages(p_limit integer) returns table (tenant_id text, id text)
language sql stable security definer set search_path = '' as $$
  select m.tenant_id, m.id from latchkey.inbound_message m where m.expire_time < clock_timestamp() order by m.expire_time limit p_limit
$$;
`;

const ROUTING_FUNCTIONS = ['route_inbound_endpoint(text)', 'route_expired_inbound_messages(integer)'];
const OURS = ['read_inbound_endpoint(text, text)', 'receive_inbound_message(text, json, bytea, bytea)'];
const ALL = [...OURS, ...ROUTING_FUNCTIONS].map((signature) => `latchkey.${signature}`).join(', ');

const GRANTS = `
grant select (tenant_id, id) on latchkey.inbound_endpoint to latchkey_router;
grant select (tenant_id, id, expire_time) on latchkey.inbound_message to latchkey_router;
create policy routing on latchkey.inbound_endpoint for select to latchkey_router using (true);
create policy routing on latchkey.inbound_message for select to latchkey_router using (true);
revoke execute on function ${ALL} from public;
grant execute on function ${ALL} to latchkey_service;
${ownedByRouter(ROUTING_FUNCTIONS)}
`;

/** Inbound webhooks. */
export class Migration0009Inbound extends Migration {
  override name = '0009-inbound';

  override up(): void {
    const policies = ['inbound_endpoint', 'inbound_message'].map(tenantPolicy);
    for (const sql of [TABLES, FUNCTIONS, ...policies, GRANTS]) this.addSql(sql);
  }
}
