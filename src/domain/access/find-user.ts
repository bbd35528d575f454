import { LatchkeyError } from '../../base/error.ts';
import { User } from '../../model/user.ts';
import type { App } from '../call.ts';
import { changeIn } from '../change.ts';

/** The id of a user named by it or by their subject at the identity provider. Fails with USER_NOT_FOUND. */
export async function findUserId(app: App, tenantId: string, idOrSubject: string): Promise<string> {
  const user = await changeIn(app, tenantId, (em) =>
    em.findOne(User, { tenantId, $or: [{ id: idOrSubject }, { subject: idOrSubject }] }),
  );
  if (!user) throw new LatchkeyError('USER_NOT_FOUND', { metadata: { user_id: idOrSubject } });
  return user.id;
}

/** The user as the identity provider names them. */
export function subjectOf(app: App, tenantId: string, userId: string): Promise<string> {
  return changeIn(app, tenantId, async (em) => (await em.findOneOrFail(User, { tenantId, id: userId })).subject);
}
