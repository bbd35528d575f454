import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { Authorization, type Starter } from '../../model/authorization.ts';
import { Connection } from '../../model/connection.ts';
import type { Call, Principal } from '../call.ts';
import { canSee } from '../connections/visibility.ts';

/** An authorization that the caller started, or whose connection they see. Fails with AUTHORIZATION_NOT_FOUND. */
export async function findAuthorization(em: Em, { principal }: Call, id: string): Promise<Authorization> {
  const { tenantId } = principal;
  const found = await em.findOne(Authorization, { tenantId, id });
  const connection = found && (await em.findOne(Connection, { tenantId, id: found.connectionId }));
  if (!found || !connection) throw authorizationNotFound(id);
  const mine = isStarter(principal, found.starter);
  if (!mine && !canSee(principal, 'connection:read', connection)) throw authorizationNotFound(id);
  return found;
}

export function isStarter({ kind, id, userId }: Principal, starter: Starter): boolean {
  return kind === starter.kind && id === starter.id && userId === starter.userId;
}

function authorizationNotFound(id: string): LatchkeyError {
  return new LatchkeyError('AUTHORIZATION_NOT_FOUND', { metadata: { authorization_id: id } });
}
