import { LockMode } from '@mikro-orm/core';
import type { Em } from '../../db/transaction.ts';
import { Connection, type CredentialKind } from '../../model/connection.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { event } from '../events/event.ts';

type Claimant = Pick<Connection, 'id' | 'projectId' | 'ownerUserId'>;

/** Takes the default mark from the connection that has it, so that another of the same project, owner and kind can. */
export async function claimDefault(
  em: Em,
  call: Call,
  { id, projectId, ownerUserId }: Claimant,
  kind: CredentialKind,
): Promise<void> {
  const { tenantId } = call.principal;
  // Two callers at once wait for each other here, rather than one failing at the unique index.
  await em.execute('select pg_advisory_xact_lock(hashtextextended(?, 0))', [
    JSON.stringify([tenantId, projectId, ownerUserId, kind]),
  ]);
  const holder = await em.findOne(
    Connection,
    { tenantId, projectId, ownerUserId, kind, isDefault: true, id: { $ne: id } },
    { lockMode: LockMode.PESSIMISTIC_WRITE },
  );
  if (!holder) return;
  const before = holder.summary();
  holder.isDefault = false;
  holder.changed(new Date(call.app.clock.now()));
  const resource = { type: 'connection', id: holder.id };
  audit(em, call, 'connection_updated', resource, { before, after: holder.summary() });
  event(em, call, 'connection.updated', holder.aggregate(), holder.summary());
  await em.flush();
}
