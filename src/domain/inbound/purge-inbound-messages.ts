import { LockMode } from '@mikro-orm/core';
import { InboundMessage } from '../../model/inbound-message.ts';
import type { App } from '../call.ts';
import { changeIn } from '../change.ts';

const MOST_AT_ONCE = 500;

/** Deletes messages of one tenant. */
export function deleteInboundMessages(app: App, tenantId: string, ids: readonly string[]): Promise<number> {
  return changeIn(app, tenantId, (em) => em.nativeDelete(InboundMessage, { tenantId, id: { $in: [...ids] } }));
}

/** Deletes the messages of an endpoint that was deleted, in batches. Answers null: done. */
export async function purgeInboundMessages(app: App, tenantId: string, endpointId: string): Promise<null> {
  for (;;) {
    const deleted = await changeIn(app, tenantId, async (em) => {
      const found = await em.find(
        InboundMessage,
        { tenantId, endpointId },
        { fields: ['id'], limit: MOST_AT_ONCE, orderBy: { id: 'asc' }, lockMode: LockMode.PESSIMISTIC_WRITE },
      );
      return em.nativeDelete(InboundMessage, { tenantId, id: { $in: found.map(({ id }) => id) } });
    });
    if (deleted < MOST_AT_ONCE) return null;
  }
}
