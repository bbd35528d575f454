import type { Pool } from 'pg';

/** How often a replica says that it lives. */
export const HEARTBEAT_MS = 5_000;
/** A replica that has not said so for this long counts as gone. */
export const REPLICA_GONE_MS = 30_000;

/** Says that this replica lives, and which master keys it knows. */
export async function reportReplica(pool: Pool, id: string, masterKeyNames: readonly string[]): Promise<void> {
  await pool.query(
    `insert into latchkey.replica (id, master_key_names) values ($1, $2)
     on conflict (id) do update set heartbeat_time = clock_timestamp(), master_key_names = excluded.master_key_names`,
    [id, masterKeyNames],
  );
}

/** Takes the replica off the list. */
export async function forgetReplica(pool: Pool, id: string): Promise<void> {
  await pool.query('delete from latchkey.replica where id = $1', [id]);
}

/** Replicas that live and do not know a master key. */
export async function replicasWithout(pool: Pool, masterKeyName: string): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>(
    `select id from latchkey.replica
     where heartbeat_time > clock_timestamp() - $2 * interval '1 ms' and not ($1 = any (master_key_names)) order by id`,
    [masterKeyName, REPLICA_GONE_MS],
  );
  return rows.map((row) => row.id);
}

/** Of our master keys, newest first, the first that every live replica knows. */
export async function wrappingKeyName(pool: Pool, names: readonly string[]): Promise<string> {
  for (const name of names) if ((await replicasWithout(pool, name)).length === 0) return name;
  throw new Error('no master key is known to every live replica');
}

/** Says under which names this replica works on jobs. */
export async function reportWorkers(pool: Pool, id: string, workerIds: readonly string[]): Promise<void> {
  await pool.query('update latchkey.replica set worker_ids = $2 where id = $1', [id, workerIds]);
}

/** Gives back the jobs that replicas had begun which are gone, and takes those off the list. */
export async function unlockJobsOfGoneReplicas(pool: Pool): Promise<void> {
  await pool.query(
    `with gone as (delete from latchkey.replica where heartbeat_time < clock_timestamp() - $1 * interval '1 ms' returning worker_ids)
     select graphile_worker.force_unlock_workers(worker_ids) from gone where cardinality(worker_ids) > 0`,
    [REPLICA_GONE_MS],
  );
}
