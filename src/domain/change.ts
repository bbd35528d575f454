import { databaseUnavailable, isDatabaseUnavailable } from '../db/errors.ts';
import { type Changed, notifyStatement } from '../db/listen.ts';
import { type Em, inTenant } from '../db/transaction.ts';
import type { Call, ToolApp, ToolCall } from './call.ts';

const announced = new WeakMap<Em, Changed[]>();

/** One transaction of the caller's tenant: all of `work` commits, or nothing. What it announces is told to every replica at the commit. */
export function change<T>(call: ToolCall, work: (em: Em) => Promise<T>): Promise<T> {
  return changeIn(call.app, call.principal.tenantId, work);
}

/** The same for a tenant other than a caller's: at the start, and for the operator. */
export async function changeIn<T>(app: ToolApp, tenantId: string, work: (em: Em) => Promise<T>): Promise<T> {
  const changes: Changed[] = [];
  try {
    const result = await inTenant(app.orm, tenantId, async (em) => {
      announced.set(em, changes);
      const value = await work(em);
      if (changes.length > 0) {
        const { sql, params } = notifyStatement(changes);
        await em.execute(sql, params);
      }
      return value;
    });
    for (const changed of changes) app.forget(changed);
    return result;
  } catch (error) {
    throw isDatabaseUnavailable(error) ? databaseUnavailable(error) : error;
  }
}

/** Reads in one transaction of the caller's tenant. */
export function read<T>(call: Call, work: (em: Em) => Promise<T>): Promise<T> {
  return change(call, work);
}

/** Says that something changed which replicas may remember. */
export function announce(em: Em, changed: Changed): void {
  announced.get(em)?.push(changed);
}
