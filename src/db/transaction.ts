import type { EntityManager } from '@mikro-orm/postgresql';
import type { Orm } from './orm.ts';

/** The entities of one transaction of one tenant. */
export type Em = EntityManager;

/** The role under whose policies every statement on a tenant's rows runs. */
export const SERVICE_ROLE = 'latchkey_service';

/** Runs `work` in one transaction, in which no row of another tenant exists. */
export async function inTenant<T>(orm: Orm, tenantId: string, work: (em: Em) => Promise<T>): Promise<T> {
  const em = orm.em.fork();
  // `role` is a setting like any other: both are set in one statement, and end with the transaction.
  em.setSessionContext({ variables: { 'latchkey.tenant': tenantId, role: SERVICE_ROLE } });
  return em.transactional(work);
}
