import { Migration } from '@mikro-orm/migrations';

const STATEMENTS = `
alter table latchkey.connection add column allowed_hosts jsonb not null default '[]';

drop function latchkey.read_credential(text, text);
create function latchkey.read_credential(p_tenant text, p_connection text)
returns table (project_id text, owner_user_id text, kind text, enabled boolean, provider text, status text, status_reason text, integration_id text, integration_enabled boolean,
  required_scopes jsonb, missing_scopes jsonb, granted_scopes jsonb, fields jsonb, sealed bytea, generation integer, expire_time timestamptz, lifetime_s integer, refs jsonb,
  base_url text, default_headers jsonb, allowed_hosts jsonb, timeout_ms integer, retries integer, backoff_ms integer)
language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query
    select c.project_id, c.owner_user_id, c.kind, c.enabled, c.provider, c.status, c.status_reason, c.integration_id, i.enabled,
      i.required_scopes, c.missing_scopes, c.granted_scopes, k.fields, k.sealed, k.generation, k.expire_time, k.lifetime_s,
      (select jsonb_agg(jsonb_build_object('field', r.field, 'name', r.secret_name, 'secretId', r.secret_id, 'generation', s.generation, 'value', encode(s.value, 'base64')))
         from latchkey.credential_secret_ref r
         left join latchkey.secret s on s.tenant_id = r.tenant_id and s.id = r.secret_id
        where r.tenant_id = p_tenant and r.connection_id = p_connection),
      c.base_url, c.default_headers, c.allowed_hosts, c.timeout_ms, c.retries, c.backoff_ms
    from latchkey.connection c
    left join latchkey.credential k on k.tenant_id = c.tenant_id and k.connection_id = c.id
    left join latchkey.integration i on i.tenant_id = c.tenant_id and i.id = c.integration_id
    where c.tenant_id = p_tenant and c.id = p_connection;
end $$;
revoke execute on function latchkey.read_credential(text, text) from public;
grant execute on function latchkey.read_credential(text, text) to latchkey_service;
`;

/** What requests of a connection obey, read with its credential. */
export class Migration0006Requests extends Migration {
  override name = '0006-requests';

  override up(): void {
    this.addSql(STATEMENTS);
  }
}
