import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import type { User } from '../../model/user.ts';

/**
 * Lets one change of who administrates a tenant be made at a time: of two administrators who take the role from each other, the second finds that they would be the last.
 * Comes before the user is read. What is made in the tenant meanwhile does not wait.
 */
export async function lockAdministrators(em: Em, tenantId: string): Promise<void> {
  await em.execute('select from latchkey.tenant where tenant_id = ? for no key update', [tenantId]);
}

/** Refuses to leave a tenant without a user who is an administrator, by an assigned role or by the groups of their last token. Fails with LAST_ADMINISTRATOR. */
export async function refuseLastAdministrator(em: Em, { tenantId, id }: User): Promise<void> {
  const others = await em.execute<object[]>(
    `select from latchkey.app_user
      where tenant_id = ? and id <> ? and delete_time is null and 'admin' = any (assigned_roles || mapped_roles) limit 1`,
    [tenantId, id],
  );
  if (others.length === 0) throw new LatchkeyError('LAST_ADMINISTRATOR', { metadata: { user_id: id } });
}
