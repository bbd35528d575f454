import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { User } from '../../model/user.ts';
import type { App } from '../call.ts';
import { changeIn } from '../change.ts';

/** The id of a user named by it or by their subject at the identity provider. Fails with USER_NOT_FOUND. */
export async function findUserId(app: App, tenantId: string, idOrSubject: string): Promise<string> {
  const user = await changeIn(app, tenantId, (em) =>
    em.findOne(User, { tenantId, deleteTime: null, $or: [{ id: idOrSubject }, { subject: idOrSubject }] }),
  );
  if (!user) throw userNotFound(idOrSubject);
  return user.id;
}

/** A user who was not deleted. Fails with USER_NOT_FOUND. */
export async function findUser(em: Em, tenantId: string, id: string): Promise<User> {
  const user = await em.findOne(User, { tenantId, id, deleteTime: null });
  if (!user) throw userNotFound(id);
  return user;
}

/** The same, locked until the transaction ends. Where an etag is given and another is current, fails with ETAG_MISMATCH, too. */
export async function lockUser(em: Em, tenantId: string, id: string, etag: string): Promise<User> {
  const user = await em.findOne(User, { tenantId, id, deleteTime: null }, { lockMode: LockMode.PESSIMISTIC_WRITE });
  if (!user) throw userNotFound(id);
  if (etag && etag !== user.etag()) throw new LatchkeyError('ETAG_MISMATCH', { metadata: { etag: user.etag() } });
  return user;
}

/** The user as the identity provider names them, of one who was deleted, too. */
export function subjectOf(app: App, tenantId: string, userId: string): Promise<string> {
  return changeIn(app, tenantId, async (em) => (await em.findOneOrFail(User, { tenantId, id: userId })).subject);
}

function userNotFound(id: string): LatchkeyError {
  return new LatchkeyError('USER_NOT_FOUND', { metadata: { user_id: id } });
}
