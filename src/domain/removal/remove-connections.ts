import { LockMode } from '@mikro-orm/core';
import { isDatabaseUnavailable } from '../../db/errors.ts';
import { Connection } from '../../model/connection.ts';
import { systemCall } from '../access/principal.ts';
import type { App } from '../call.ts';
import { change, read } from '../change.ts';
import { removeConnection } from '../connections/delete-connection.ts';
import { givenUpGrant } from '../connections/given-up-grant.ts';
import { type GivenUpGrant, scheduleRevocation } from '../connections/schedule-revocation.ts';

const MOST_AT_ONCE = 50;

/** What is given up: all of a tenant, or what a user owns. */
export type Leaving = { tenantId: string; ownerUserId?: string };

/** Deletes some of the connections, each in a transaction of its own, and has their tokens revoked. Answers whether there may be more. */
export async function removeConnections(app: App, leaving: Leaving): Promise<boolean> {
  const { tenantId } = leaving;
  const call = systemCall(app, tenantId);
  const found = await read(call, (em) =>
    em.find(Connection, leaving, { fields: ['id'], orderBy: { id: 'asc' }, limit: MOST_AT_ONCE }),
  );
  for (const { id } of found) {
    const grant = await grantOf(app, tenantId, id);
    await change(call, async (em) => {
      const connection = await em.findOne(Connection, { tenantId, id }, { lockMode: LockMode.PESSIMISTIC_WRITE });
      if (!connection) return;
      removeConnection(em, call, connection, grant ? await scheduleRevocation(em, call, connection, grant) : 'NOTHING');
    });
  }
  return found.length === MOST_AT_ONCE;
}

/** Null: it cannot be read, which is no reason to keep all that comes after it. */
async function grantOf(app: App, tenantId: string, id: string): Promise<GivenUpGrant | null> {
  try {
    return await givenUpGrant(app, tenantId, id);
  } catch (error) {
    if (isDatabaseUnavailable(error)) throw error;
    app.log.error({ err: error, connectionId: id }, 'a connection is deleted, and its tokens cannot be revoked');
    return null;
  }
}
