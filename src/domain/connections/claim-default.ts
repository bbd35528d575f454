import type { Em } from '../../db/transaction.ts';
import { Connection, type CredentialKind } from '../../model/connection.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';

type Slot = { id: string; projectId: string | null; ownerUserId: string | null; kind: CredentialKind };

/** Takes the default mark from the connection that has it, so that another of the same project, owner and kind can. */
export async function claimDefault(em: Em, call: Call, { id, projectId, ownerUserId, kind }: Slot): Promise<void> {
  const { tenantId } = call.principal;
  // Two callers at once wait for each other here, rather than one failing at the unique index.
  await em.execute('select pg_advisory_xact_lock(hashtextextended(?, 0))', [
    JSON.stringify([tenantId, projectId, ownerUserId, kind]),
  ]);
  const holder = await em.findOne(Connection, {
    tenantId,
    projectId,
    ownerUserId,
    kind,
    isDefault: true,
    id: { $ne: id },
  });
  if (!holder) return;
  const before = holder.summary();
  holder.isDefault = false;
  holder.changed(new Date(call.app.clock.now()));
  audit(em, call, 'connection_updated', { type: 'connection', id: holder.id }, { before, after: holder.summary() });
  await em.flush();
}
