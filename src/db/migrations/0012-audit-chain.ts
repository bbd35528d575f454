import { Migration } from '@mikro-orm/migrations';
import { ownedByRouter, tenantPolicy } from './tenant-policy.ts';

/** Columns that are compared and sorted, not read aloud. */
const COMPARED = ['actor_kind', 'actor_id', 'on_behalf_of', 'action', 'resource_type', 'resource_id', 'request_id'];

/**
 * Ids sort by time, so each index serves pages and ranges of time. The first serves kinds of entries, of which a tenant has few, in every
 * combination. They end with an id, so no two keys are alike, and looking for duplicates would only cost.
 */
const INDEXES = `
alter table latchkey.audit_entry ${COMPARED.map((column) => `alter column ${column} type text collate "C"`).join(', ')};
create index audit_entry_by_action on latchkey.audit_entry (tenant_id, action, resource_type, actor_kind, id) with (deduplicate_items = off);
create index audit_entry_by_actor on latchkey.audit_entry (tenant_id, actor_id, id) with (deduplicate_items = off);
create index audit_entry_by_subject on latchkey.audit_entry (tenant_id, on_behalf_of, id) with (deduplicate_items = off) where on_behalf_of <> '';
create index audit_entry_by_resource on latchkey.audit_entry (tenant_id, resource_id, id) with (deduplicate_items = off);
create index audit_entry_by_request on latchkey.audit_entry (tenant_id, request_id, id) with (deduplicate_items = off);
`;

const TABLES = `
create table latchkey.audit_seal (
  tenant_id text not null,
  first_sequence bigint not null,
  last_sequence bigint not null,
  entry_ids text[] collate "C" not null,
  entry_hashes bytea not null,
  previous_hash bytea not null,
  hash bytea not null,
  adopted boolean not null,
  seal_time timestamptz not null,
  primary key (tenant_id, first_sequence)
);
comment on table latchkey.audit_seal is 'The chain of a tenant''s audit entries: a row for all that were sealed at once, with 32 bytes of hash for each. Entries adopted were there before the chain was.';

create table latchkey.audit_unsealed (
  tenant_id text not null,
  id bigint generated always as identity,
  entry_ids text[] collate "C" not null,
  entries integer not null,
  adopted boolean not null default false,
  queue_time timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);
comment on table latchkey.audit_unsealed is 'Audit entries that wait to be sealed, a row for each statement that wrote some. It is seen when the entries are: none can be passed over, however late it commits.';
`;

/** What an entry's hash is over, in this order (src/domain/audit/seal.ts). */
const HASHED = [
  ...['tenant_id', 'id', 'actor_kind', 'actor_id', 'on_behalf_of', 'action', 'resource_type', 'resource_id'].map(
    (name) => `e.${name}`,
  ),
  ...[
    'e.before::text',
    'e.after::text',
    'e.request_id',
    'e.address',
    '(extract(epoch from e.create_time) * 1000000)::bigint::text',
  ],
];

const FUNCTIONS = `
create function latchkey.queue_audit() returns trigger language plpgsql as $$
begin
  insert into latchkey.audit_unsealed (tenant_id, entry_ids, entries)
    select a.tenant_id, array_agg(a.id), count(*) from added a group by a.tenant_id;
  return null;
end $$;
create trigger audit_queue after insert on latchkey.audit_entry
  referencing new table as added for each statement execute function latchkey.queue_audit();

create function latchkey.route_unsealed_audit(p_limit integer) returns table (tenant_id text, entries bigint, oldest_s float8)
language sql stable security definer set search_path = '' as $$
  select q.tenant_id, sum(q.entries), extract(epoch from clock_timestamp() - min(q.queue_time))::float8
    from latchkey.audit_unsealed q group by q.tenant_id order by 3 desc limit p_limit
$$;

-- One statement: what waits and where the chain ends are of the same instant.
create function latchkey.read_unsealed_audit(p_tenant text, p_most integer)
returns table (queue_ids bigint[], entry_ids text[], adopted boolean, last_sequence bigint, last_hash bytea, last_adopted boolean) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query
    with first as (
      select q.* from latchkey.audit_unsealed q where q.tenant_id = p_tenant order by q.id limit 1000
    ), counted as (
      select f.*, sum(f.entries) over (order by f.id) - f.entries as before, first_value(f.adopted) over (order by f.id) as leads from first f
    ), taken as (
      select c.* from counted c where c.before < p_most and c.adopted = c.leads
    ), head as (
      select s.* from latchkey.audit_seal s where s.tenant_id = p_tenant order by s.first_sequence desc limit 1
    )
    select array(select t.id from taken t), array(select unnest(t.entry_ids) from taken t), (select bool_and(t.adopted) from taken t), h.last_sequence, h.hash, h.adopted
      from (select 1) one left join head h on true where exists (select from taken);
end $$;

create function latchkey.read_audit_entries(p_tenant text, p_ids text[])
returns table (id text, actor_kind text, actor_id text, on_behalf_of text, action text, resource_type text, resource_id text, before text, after text, request_id text, address text, time_us text)
language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query
    select e.id, e.actor_kind, e.actor_id, e.on_behalf_of, e.action, e.resource_type, e.resource_id, e.before::text, e.after::text, e.request_id, e.address,
      (extract(epoch from e.create_time) * 1000000)::bigint::text
    from unnest(p_ids) as wanted(id) join latchkey.audit_entry e on e.tenant_id = p_tenant and e.id = wanted.id;
end $$;

-- Their hashes, one after the other, for who is sure to be the first to ask; who proves them later works them out elsewhere. 32 zeros where an entry is gone.
create function latchkey.hash_audit_entries(p_tenant text, p_ids text[]) returns bytea language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return (
    select string_agg(coalesce(h.hash, decode(repeat('00', 32), 'hex')), '' order by wanted.at)
      from unnest(p_ids) with ordinality as wanted(id, at)
      left join lateral (
        select sha256(convert_to(${HASHED.map((text) => `coalesce(length(${text}) || ':' || ${text}, '-')`).join(' || ')}, 'UTF8')) as hash
          from latchkey.audit_entry e where e.tenant_id = p_tenant and e.id = wanted.id) h on true);
end $$;

create function latchkey.read_audit_head(p_tenant text) returns table (last_sequence bigint, hash bytea) language plpgsql as $$
begin
  perform latchkey.enter(p_tenant);
  return query select s.last_sequence, s.hash from latchkey.audit_seal s where s.tenant_id = p_tenant order by s.first_sequence desc limit 1;
end $$;

-- Answers whether it sealed. Whoever comes second finds the sequence taken, or what waited gone, and changes nothing.
create function latchkey.seal_audit(p_tenant text, p_queue_ids bigint[], p_first bigint, p_entry_ids text[], p_entry_hashes bytea, p_previous_hash bytea, p_hash bytea, p_adopted boolean, p_time timestamptz)
returns boolean language plpgsql as $$
declare
  v_waiting bigint;
begin
  perform latchkey.enter(p_tenant);
  perform from latchkey.audit_unsealed q where q.tenant_id = p_tenant and q.id = any (p_queue_ids) order by q.id for update;
  get diagnostics v_waiting = row_count;
  if v_waiting <> cardinality(p_queue_ids) then
    return false;
  end if;
  insert into latchkey.audit_seal (tenant_id, first_sequence, last_sequence, entry_ids, entry_hashes, previous_hash, hash, adopted, seal_time)
    values (p_tenant, p_first, p_first + cardinality(p_entry_ids) - 1, p_entry_ids, p_entry_hashes, p_previous_hash, p_hash, p_adopted, p_time)
    on conflict do nothing;
  if not found then
    return false;
  end if;
  delete from latchkey.audit_unsealed q where q.tenant_id = p_tenant and q.id = any (p_queue_ids);
  return true;
end $$;
`;

const SERVICE_FUNCTIONS = [
  'read_unsealed_audit(text, integer)',
  'read_audit_entries(text, text[])',
  'hash_audit_entries(text, text[])',
  'read_audit_head(text)',
  'seal_audit(text, bigint[], bigint, text[], bytea, bytea, bytea, boolean, timestamptz)',
  'route_unsealed_audit(integer)',
];

const GRANTS = `
grant select, insert on latchkey.audit_seal to latchkey_service;
-- Locking rows asks for the right to update them.
grant select, insert, update, delete on latchkey.audit_unsealed to latchkey_service;
grant select (tenant_id, entries, queue_time) on latchkey.audit_unsealed to latchkey_router;
create policy routing on latchkey.audit_unsealed for select to latchkey_router using (true);
revoke execute on function latchkey.queue_audit() from public;
${SERVICE_FUNCTIONS.map((name) => `revoke execute on function latchkey.${name} from public;\ngrant execute on function latchkey.${name} to latchkey_service;`).join('\n')}
${ownedByRouter(['route_unsealed_audit(integer)'])}
`;

/** What there is already is sealed first. The owner of a table sees no row of it while its policies are forced. */
const ADOPTION = `
alter table latchkey.audit_entry disable row level security;
insert into latchkey.audit_unsealed (tenant_id, entry_ids, entries, adopted)
  select tenant_id, array_agg(id order by id), count(*), true
    from (select tenant_id, id, (row_number() over (partition by tenant_id order by id) - 1) / 1000 as part from latchkey.audit_entry) numbered
   group by tenant_id, part order by tenant_id, part;
alter table latchkey.audit_entry enable row level security;
`;

/** The audit log can be searched, and is sealed into a chain. */
export class Migration0012AuditChain extends Migration {
  override name = '0012-audit-chain';

  override up(): void {
    const policies = ['audit_seal', 'audit_unsealed'].map(tenantPolicy);
    for (const sql of [INDEXES, TABLES, ADOPTION, FUNCTIONS, ...policies, GRANTS]) this.addSql(sql);
  }
}
