import { LockMode } from '@mikro-orm/core';
import { LatchkeyError } from '../../base/error.ts';
import type { Em } from '../../db/transaction.ts';
import { Connection } from '../../model/connection.ts';
import type { Permission } from '../access/permissions.ts';
import type { Call } from '../call.ts';
import { connectionNotFound, refuseUnlessAllowed } from './visibility.ts';

/** A connection that the caller may act on so. Fails with CONNECTION_NOT_FOUND, PERMISSION_MISSING. */
export async function findConnection(em: Em, call: Call, id: string, permission: Permission): Promise<Connection> {
  return checked(call, id, permission, await em.findOne(Connection, { tenantId: call.principal.tenantId, id }));
}

/** The same, locked until the transaction ends. Fails with ETAG_MISMATCH, too, where an etag is given and another is current. */
export async function lockConnection(
  em: Em,
  call: Call,
  id: string,
  permission: Permission,
  etag = '',
): Promise<Connection> {
  const key = { tenantId: call.principal.tenantId, id };
  const found = await em.findOne(Connection, key, { lockMode: LockMode.PESSIMISTIC_WRITE });
  const connection = checked(call, id, permission, found);
  if (etag && etag !== connection.etag())
    throw new LatchkeyError('ETAG_MISMATCH', { metadata: { etag: connection.etag() } });
  return connection;
}

function checked(call: Call, id: string, permission: Permission, connection: Connection | null): Connection {
  if (!connection) throw connectionNotFound(id);
  refuseUnlessAllowed(call.principal, permission, id, connection);
  return connection;
}
