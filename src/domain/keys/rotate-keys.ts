import type { Pool } from 'pg';
import { StartError } from '../../base/error.ts';
import { ACTIVE_KEY_MS, type Keyring } from '../../crypto/keyring.ts';
import type { MasterKeys } from '../../crypto/master-keys.ts';
import { IntegrityError } from '../../crypto/sealed-value.ts';
import { rewrapInstallation } from '../../db/installation.ts';
import type { Orm } from '../../db/orm.ts';
import { REPLICA_GONE_MS, replicasWithout } from '../../db/replicas.ts';
import { tenantIds } from '../../db/tenants.ts';
import { type Em, inTenant } from '../../db/transaction.ts';
import { AuditEntry } from '../../model/audit-entry.ts';
import { newAuditId } from '../audit/audit-id.ts';
import type { AuditKeys } from '../call.ts';
import { SEALED_COLUMNS, type SealedColumn } from './sealed-columns.ts';

/** What a rotation works with. */
export type RotationTools = {
  orm: Orm;
  pool: Pool;
  masterKeys: MasterKeys;
  keyring: Keyring;
  auditKeys: AuditKeys;
  /** Told what goes on, for people. What passes says how far it is, and is soon said anew. */
  progress: (text: string, passes?: boolean) => void;
  /** Waits so many ms. */
  pause: (ms: number) => Promise<void>;
};

export type RotationReport = {
  tenants: number;
  dataKeys: number;
  values: number;
  /** Values that do not open, and so stay as they are: altered, or moved from elsewhere. */
  broken: string[];
};

const VALUES_LOCKED = 200;
const ASK_MS = 1_000;

/**
 * Puts the current master key in force while calls go on: first for the installation, so that no process starts any more without it, then for every
 * data key; gives each tenant a new data key, and seals every value with that.
 * Throws StartError while a replica lives that does not know the key: nothing that it could not open was written then.
 */
export async function rotateKeys(tools: RotationTools): Promise<RotationReport> {
  const { progress, pause, keyring } = tools;
  await awaitReplicas(tools);
  await putInForce(tools);
  // One that started meanwhile and saw the old key in force finds out at its next heartbeat, and ends.
  await awaitReplicas(tools);
  const report: RotationReport = { tenants: 0, dataKeys: 0, values: 0, broken: [] };
  for await (const tenantId of tenantIds(tools.pool)) {
    report.tenants += 1;
    report.dataKeys += await rewrapDataKeys(tools, tenantId);
    await keyring.replaceDataKey(tenantId);
  }
  progress(`${report.tenants} tenants have a new data key; ${report.dataKeys} older ones are wrapped anew`);
  // Until then a replica may seal with a data key that it still holds as the tenant's current one.
  await pause(2 * ACTIVE_KEY_MS);
  for await (const tenantId of tenantIds(tools.pool)) {
    // A data key that was on its way while the replicas learnt the new master key.
    report.dataKeys += await rewrapDataKeys(tools, tenantId);
    await resealTenant(tools, tenantId, report);
  }
  progress(`${report.values} values are sealed anew`);
  return report;
}

/** Waits until every live replica knows the key, for as long as one that is gone may be taken for alive. */
async function awaitReplicas({ pool, masterKeys, progress, pause }: RotationTools): Promise<void> {
  for (let waitedMs = 0; ; waitedMs += ASK_MS) {
    const without = await replicasWithout(pool, masterKeys.current.name);
    if (without.length === 0) return;
    if (waitedMs > REPLICA_GONE_MS) {
      throw new StartError(
        `These replicas do not know the master key ${masterKeys.current.name}: ${without.join(', ')}\n  Start them anew with it (and the old one as LATCHKEY_PREVIOUS_MASTER_KEY), then rotate.`,
      );
    }
    if (waitedMs === 0) progress(`waiting for ${without.length} replicas that do not know the key`);
    await pause(ASK_MS);
  }
}

type DataKeyRow = { id: string; wrapped: Buffer; master_key_name: string };

async function rewrapDataKeys({ orm, keyring, masterKeys }: RotationTools, tenantId: string): Promise<number> {
  return inTenant(orm, tenantId, async (em) => {
    const rows = await em.execute<DataKeyRow[]>(
      'select id, wrapped, master_key_name from latchkey.data_key where tenant_id = ? and master_key_name <> ? for update',
      [tenantId, masterKeys.current.name],
    );
    for (const row of rows) {
      const rewrapped = keyring.rewrap(tenantId, {
        id: row.id,
        wrapped: row.wrapped,
        masterKeyName: row.master_key_name,
      });
      await em.execute('update latchkey.data_key set wrapped = ?, master_key_name = ? where tenant_id = ? and id = ?', [
        ...[rewrapped.wrapped, rewrapped.masterKeyName, tenantId, row.id],
      ]);
    }
    return rows.length;
  });
}

async function resealTenant(tools: RotationTools, tenantId: string, report: RotationReport): Promise<void> {
  const before = report.values;
  for (const column of SEALED_COLUMNS) {
    for (let after: string | null = ''; after !== null; ) {
      const batch = await resealBatch(tools, tenantId, column, after);
      report.values += batch.values;
      report.broken.push(...batch.broken);
      after = batch.last;
      tools.progress(`${report.values} values are sealed anew so far`, true);
    }
  }
  if (report.values > before)
    await inTenant(tools.orm, tenantId, (em) => recordRotation(em, tools.auditKeys, tenantId));
}

type ValueRow = { id: string; generation: number; value: Buffer };
type Batch = { values: number; broken: string[]; last: string | null };

/** Seals some values after an id that are sealed with a data key other than the tenant's current one; in order of id, as all who lock several rows do. */
async function resealBatch(
  { orm, keyring }: RotationTools,
  tenantId: string,
  column: SealedColumn,
  after: string,
): Promise<Batch> {
  const { table, column: name, id, generation, place, atOnce = VALUES_LOCKED } = column;
  const seal = await keyring.sealer(tenantId);
  return inTenant(orm, tenantId, async (em) => {
    const rows = await em.execute<ValueRow[]>(
      `select ${id} as id, ${generation} as generation, ${name} as value from latchkey.${table}
       where tenant_id = ? and ${id} > ? and 'dk_' || encode(substring(${name} from 2 for 16), 'hex') <>
         (select id from latchkey.data_key where tenant_id = ? and active)
       order by ${id} limit ${atOnce} for update`,
      [tenantId, after, tenantId],
    );
    const broken: string[] = [];
    for (const row of rows) {
      const where = place(tenantId, row.id, row.generation);
      const plaintext = await keyring.open(where, row.value).catch((error: unknown) => {
        if (!(error instanceof IntegrityError)) throw error;
        broken.push(`${table}.${name} of ${row.id}`);
        return null;
      });
      if (!plaintext) continue;
      await em.execute(`update latchkey.${table} set ${name} = ? where tenant_id = ? and ${id} = ?`, [
        seal(where, plaintext),
        tenantId,
        row.id,
      ]);
      plaintext.fill(0);
    }
    return {
      values: rows.length - broken.length,
      broken,
      last: rows.length === atOnce ? rows.at(-1)!.id : null,
    };
  });
}

async function recordRotation(em: Em, auditKeys: AuditKeys, tenantId: string): Promise<void> {
  em.create(AuditEntry, {
    ...{
      tenantId,
      id: newAuditId(auditKeys, tenantId),
      actorKind: 'system',
      actorId: '',
      onBehalfOf: '',
      action: 'keys_rotated',
    },
    ...{
      resourceType: 'tenant',
      resourceId: tenantId,
      before: null,
      after: null,
      requestId: '',
      address: '',
      createTime: new Date(),
    },
  });
}

/** From here on no process starts without the key. Throws StartError where a replica without it appeared meanwhile. */
async function putInForce({ pool, masterKeys }: RotationTools): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    await rewrapInstallation(client, masterKeys);
    const without = await replicasWithout(pool, masterKeys.current.name);
    if (without.length > 0)
      throw new StartError(
        `Replicas without the new key appeared meanwhile: ${without.join(', ')}. Rotate again when they are gone.`,
      );
    await client.query('commit');
  } catch (error) {
    await client.query('rollback');
    throw error;
  } finally {
    client.release();
  }
}
