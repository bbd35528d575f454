import type { Pool } from 'pg';
import type { MasterKeys } from '../../crypto/master-keys.ts';
import { hot } from '../../db/hot.ts';
import { REPLICA_GONE_MS } from '../../db/replicas.ts';

export type KeyStatus = {
  /** The master key in force. */
  inForce: string;
  /** The master keys configured here, the current one first. */
  configured: string[];
  replicas: { id: string; masterKeyNames: string[]; lastSeen: Date }[];
  tenants: number;
};

/** Which master keys are in force, configured, and known to live replicas. */
export async function keyStatus(pool: Pool, masterKeys: MasterKeys): Promise<KeyStatus> {
  const installation = await pool.query<{ master_key_name: string }>(
    'select master_key_name from latchkey.installation',
  );
  const replicas = await pool.query<{ id: string; master_key_names: string[]; heartbeat_time: Date }>(
    `select id, master_key_names, heartbeat_time from latchkey.replica where heartbeat_time > clock_timestamp() - $1 * interval '1 ms' order by id`,
    [REPLICA_GONE_MS],
  );
  const [tenants] = await hot<{ count: string }>(pool, 'countTenants', []);
  return {
    inForce: installation.rows[0]?.master_key_name ?? '',
    configured: masterKeys.all.map((key) => key.name),
    replicas: replicas.rows.map((row) => ({
      id: row.id,
      masterKeyNames: row.master_key_names,
      lastSeen: new Date(row.heartbeat_time),
    })),
    tenants: Number(tenants?.count ?? 0),
  };
}
