import type { JsonObject } from '../../model/json.ts';
import type { NewDelivery } from '../deliveries.ts';

/** How a new delivery begins: leased by who stores it, for so many ms; waiting for its turn; or settled, because nothing is to be sent. */
export type Beginning = { status: 'DELIVERING'; leaseMs: number } | { status: 'PENDING' } | { status: 'SKIPPED' };

/** A new delivery as `accept_deliveries` takes it. */
export function deliveryRow(
  { task, sealed, ownerUserId, projectId, audit }: NewDelivery,
  beginning: Beginning,
): JsonObject {
  const { id, messageId, purpose, connectionId, signedBy, host, lane, method, timeoutMs, backoffMs, maxAttempts } =
    task;
  const leased = beginning.status === 'DELIVERING';
  return {
    ...{ id, messageId, purpose, connectionId, signedBy, host, lane, method, timeoutMs, backoffMs, maxAttempts },
    ...{ ownerUserId, projectId, audit, awaited: task.awaited, sealed: sealed.toString('base64') },
    ...{ status: beginning.status, leaseMs: leased ? beginning.leaseMs : 0, epoch: leased ? 1 : 0 },
  };
}
