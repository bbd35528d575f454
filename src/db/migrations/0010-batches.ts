import { Migration } from '@mikro-orm/migrations';

/** The functions of before, for one credential and for rows as objects, stay for replicas of the version before. */
const FUNCTIONS = `
-- Generic plans: planning for each list of ids takes longer than the reading.
create function latchkey.read_credentials(p_tenant text, p_connections text[])
returns table (id text, project_id text, owner_user_id text, kind text, enabled boolean, provider text, status text, status_reason text, integration_id text, integration_enabled boolean,
  required_scopes jsonb, granted_scopes jsonb, fields jsonb, sealed bytea, generation integer, expire_time timestamptz, lifetime_s integer, refs jsonb,
  base_url text, default_headers jsonb, allowed_hosts jsonb, timeout_ms integer, retries integer, backoff_ms integer)
language plpgsql set plan_cache_mode = force_generic_plan as $$
begin
  perform latchkey.enter(p_tenant);
  return query
    select c.id, c.project_id, c.owner_user_id, c.kind, c.enabled, c.provider, c.status, c.status_reason, c.integration_id, i.enabled,
      i.required_scopes, c.granted_scopes, k.fields, k.sealed, k.generation, k.expire_time, k.lifetime_s,
      (select jsonb_agg(jsonb_build_object('field', r.field, 'name', r.secret_name, 'secretId', r.secret_id, 'generation', s.generation, 'value', encode(s.value, 'base64')))
         from latchkey.credential_secret_ref r
         left join latchkey.secret s on s.tenant_id = r.tenant_id and s.id = r.secret_id
        where r.tenant_id = p_tenant and r.connection_id = c.id),
      c.base_url, c.default_headers, c.allowed_hosts, c.timeout_ms, c.retries, c.backoff_ms
    from latchkey.connection c
    left join latchkey.credential k on k.tenant_id = c.tenant_id and k.connection_id = c.id
    left join latchkey.integration i on i.tenant_id = c.tenant_id and i.id = c.integration_id
    where c.tenant_id = p_tenant and c.id = any (p_connections);
end $$;

-- Entries by column, each a list: a third cheaper to read than as objects.
create function latchkey.append_audit(p_tenant text, p_entries jsonb) returns void language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
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
`;
const OURS = 'latchkey.read_credentials(text, text[]), latchkey.append_audit(text, jsonb)';

/** Many credentials read by one statement; entries about reads written by column. */
export class Migration0010Batches extends Migration {
  override name = '0010-batches';

  override up(): void {
    this.addSql(FUNCTIONS);
    this.addSql(
      `revoke execute on function ${OURS} from public; grant execute on function ${OURS} to latchkey_service;`,
    );
  }
}
