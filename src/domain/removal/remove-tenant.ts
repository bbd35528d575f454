import { LockMode } from '@mikro-orm/core';
import { hot } from '../../db/hot.ts';
import type { Em } from '../../db/transaction.ts';
import { Revocation } from '../../model/revocation.ts';
import { Tenant } from '../../model/tenant.ts';
import { OPERATOR_TENANT } from '../access/ensure-tenant.ts';
import { systemCall } from '../access/principal.ts';
import { audit } from '../audit/audit.ts';
import type { App, Call } from '../call.ts';
import { change, read } from '../change.ts';
import { event } from '../events/event.ts';
import { deleteRows } from './delete-rows.ts';
import { destroyKeys } from './destroy-keys.ts';
import { removeAccounts } from './remove-accounts.ts';
import { removeConnections } from './remove-connections.ts';
import { ACTED_UPON, LOG_TABLES, TENANT_TABLES } from './tenant-tables.ts';

/** Other jobs wait for the same few workers. */
const AT_A_TIME_MS = 10_000;
const LOG_ROWS_AT_ONCE = 5_000;
const LOOK_MS = 5_000;
const FAILED_MS = 30_000;
/** Beyond the longest call: what had begun before the tenant was deleted has ended. */
const LATE_MS = 10_000;

/**
 * Goes on with the removal of a tenant: gives up what it has at providers, destroys its keys once that is settled or its time has come, removes its rows, and at last its own. Answers in how
 * many ms to go on; null: nothing is left.
 */
export async function removeTenant(app: App, tenantId: string): Promise<number | null> {
  const call = systemCall(app, tenantId);
  const tenant = await read(call, (em) => em.findOne(Tenant, { tenantId }));
  if (!tenant || tenant.state === 'ACTIVE') return null;
  if (tenant.state === 'DELETING') {
    const timeLeftMs = tenant.eraseTime!.getTime() - app.clock.now();
    const againInMs = timeLeftMs > 0 ? await giveUp(app, tenantId) : null;
    if (againInMs !== null) return Math.min(againInMs, timeLeftMs);
    await destroyKeys(call);
  }
  return erase(app, call, tenant);
}

/** Answers in how many ms to go on; null: nothing is left to be revoked. Whatever fails, the keys are destroyed in time. */
async function giveUp(app: App, tenantId: string): Promise<number | null> {
  try {
    if (!(await deleteRows(app, tenantId, ACTED_UPON, AT_A_TIME_MS))) return 0;
    const accountsInMs = await removeAccounts(app, { tenantId });
    if (await removeConnections(app, { tenantId })) return 0;
    if (accountsInMs !== null) return accountsInMs;
    const pending = await read(systemCall(app, tenantId), (em) =>
      em.count(Revocation, { tenantId, status: 'PENDING' }),
    );
    return pending > 0 ? LOOK_MS : null;
  } catch (error) {
    app.log.warn({ err: error, tenant: tenantId }, 'what a deleted tenant has at providers is not given up yet');
    return FAILED_MS;
  }
}

async function erase(app: App, call: Call, { tenantId, deleteTime }: Tenant): Promise<number | null> {
  if (!(await deleteRows(app, tenantId, TENANT_TABLES, AT_A_TIME_MS))) return 0;
  const end = performance.now() + AT_A_TIME_MS;
  while ((await eraseLog(app, tenantId)) > 0) if (performance.now() > end) return 0;
  const lateMs = deleteTime!.getTime() + app.config.maxCallMs + LATE_MS - app.clock.now();
  if (lateMs > 0) return lateMs;
  return (await finish(call)) ? null : LOOK_MS;
}

async function eraseLog(app: App, tenantId: string): Promise<number> {
  const [row] = await hot<{ erased: number }>(app.pool, 'eraseTenantLog', [tenantId, LOG_ROWS_AT_ONCE]);
  return row!.erased;
}

/** Removes the tenant's own row, in the place of which its id stays. Whatever refers to it keeps it from going. Answers whether it is gone. */
async function finish(call: Call): Promise<boolean> {
  const { app, principal } = call;
  const { tenantId } = principal;
  if (!(await read(call, isEmpty))) return false;
  const operator = systemCall(app, OPERATOR_TENANT);
  await change(operator, async (em) => {
    audit(em, operator, 'tenant_erased', { type: 'tenant', id: tenantId });
    event(em, operator, 'tenant.erased', { type: 'deleted_tenant', id: tenantId, generation: 2 });
  });
  return change(call, async (em) => {
    const tenant = await em.findOne(Tenant, { tenantId }, { lockMode: LockMode.PESSIMISTIC_WRITE });
    if (!tenant || !(await isEmpty(em))) return !tenant;
    await em.execute('insert into latchkey.deleted_tenant (tenant_id, delete_time) values (?, ?)', [
      ...[tenantId, tenant.deleteTime],
    ]);
    return (await em.nativeDelete(Tenant, { tenantId })) === 1;
  });
}

/** Whether nothing but the row of its own is left of the tenant whose transaction this is. */
async function isEmpty(em: Em): Promise<boolean> {
  const left = await em.execute<object[]>(
    [...TENANT_TABLES, ...LOG_TABLES]
      .map((table) => `(select from latchkey.${table} where tenant_id = current_setting('latchkey.tenant') limit 1)`)
      .join(' union all '),
  );
  return left.length === 0;
}
