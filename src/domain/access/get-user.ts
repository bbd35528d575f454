import type { User } from '../../model/user.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { findUser } from './find-user.ts';

/** Answers a user. Fails with USER_NOT_FOUND. */
export function getUser(call: Call, id: string): Promise<User> {
  return read(call, (em) => findUser(em, call.principal.tenantId, id));
}
