import { LatchkeyError } from '../../base/error.ts';
import { Connection } from '../../model/connection.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { revokeConnection } from './revoke-connection.ts';
import { refuseUnlessAllowed } from './visibility.ts';

const MOST = 1_000;

/** Revokes every connection to a provider that the caller may delete, or says which those are. */
export async function revokeConnections(
  call: Call,
  provider: string,
  dryRun: boolean,
): Promise<{ connectionIds: string[]; more: boolean }> {
  const where = { tenantId: call.principal.tenantId, provider, status: { $ne: 'REVOKED' as const } };
  const found = await read(call, (em) => em.find(Connection, where, { orderBy: { id: 'asc' } }));
  const allowed = found.filter((connection) => mayDelete(call, connection)).map(({ id }) => id);
  const connectionIds = allowed.slice(0, MOST);
  if (!dryRun) for (const id of connectionIds) await revokeUnlessGone(call, id);
  return { connectionIds, more: allowed.length > MOST };
}

function mayDelete({ principal }: Call, connection: Connection): boolean {
  try {
    refuseUnlessAllowed(principal, 'connection:delete', connection.id, connection);
    return true;
  } catch (error) {
    if (error instanceof LatchkeyError) return false;
    throw error;
  }
}

async function revokeUnlessGone(call: Call, id: string): Promise<void> {
  try {
    await revokeConnection(call, id);
  } catch (error) {
    if (!(error instanceof LatchkeyError) || error.reason !== 'CONNECTION_NOT_FOUND') throw error;
  }
}
