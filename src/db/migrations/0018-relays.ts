import { Migration } from '@mikro-orm/migrations';

const STATEMENTS = `
create table latchkey.outbox_relayer (
  id text collate "C" primary key,
  lease_until timestamptz not null
);
comment on table latchkey.outbox_relayer is 'Who relays the outbox at present, by the clock of the database: the lanes are shared among them.';

-- Says that a relay lives, and answers how many lanes are its share. Those that have not said so for the time of a lease are gone. What happens from the first one on is relayed, in whichever lane.
create function latchkey.join_relay(p_id text, p_lease_ms integer) returns integer language plpgsql as $$
begin
  update latchkey.outbox_relay r set position = latchkey.outbox_head() where r.position is null;
  insert into latchkey.outbox_relayer (id, lease_until) values (p_id, clock_timestamp() + p_lease_ms * interval '1 ms')
    on conflict (id) do update set lease_until = excluded.lease_until;
  delete from latchkey.outbox_relayer r using (select g.id from latchkey.outbox_relayer g where g.lease_until < clock_timestamp() for update skip locked) gone where r.id = gone.id;
  return (select ceil((select count(*) from latchkey.outbox_relay)::numeric / count(*)) from latchkey.outbox_relayer);
end $$;

-- As in 0011-events, and no more than so many.
create function latchkey.take_lanes(p_lease_ms integer, p_most integer) returns table (lane smallint, "position" bigint, epoch bigint) language plpgsql as $$
begin
  return query
    with free as (select r.lane from latchkey.outbox_relay r where r.lease_until is null or r.lease_until < clock_timestamp() order by r.lane limit p_most for update skip locked)
    update latchkey.outbox_relay r
       set lease_until = clock_timestamp() + p_lease_ms * interval '1 ms', lease_epoch = r.lease_epoch + 1
      from free where r.lane = free.lane returning r.lane, r.position, r.lease_epoch;
end $$;

grant select, insert, update, delete on latchkey.outbox_relayer to latchkey_service;
revoke execute on function latchkey.join_relay(text, integer), latchkey.take_lanes(integer, integer) from public;
grant execute on function latchkey.join_relay(text, integer), latchkey.take_lanes(integer, integer) to latchkey_service;
`;

/** Relays share the lanes of the outbox. */
export class Migration0018Relays extends Migration {
  override name = '0018-relays';

  override up(): void {
    this.addSql(STATEMENTS);
  }
}
