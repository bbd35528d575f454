import { Connection } from '../../model/connection.ts';
import { Credential } from '../../model/credential.ts';
import { systemCall } from '../access/principal.ts';
import type { App } from '../call.ts';
import { change } from '../change.ts';
import { event } from '../events/event.ts';

/** Says once, a week ahead, that a grant ends unless a person grants access again: the event `connection.expiring`. */
export function warnOfExpiry(app: App, tenantId: string, connectionId: string): Promise<void> {
  const call = systemCall(app, tenantId);
  return change(call, async (em) => {
    const credential = await em.findOne(Credential, { tenantId, connectionId, expiryWarned: false });
    const connection = await em.findOne(Connection, { tenantId, id: connectionId });
    if (!credential || !connection) return;
    await em.nativeUpdate(Credential, { tenantId, connectionId }, { expiryWarned: true });
    if (connection.status !== 'ACTIVE') return;
    const aggregate = { type: 'connection', id: connectionId, generation: credential.generation };
    const payload = {
      provider: connection.provider,
      refresh_expire_time: credential.refreshExpireTime?.toISOString() ?? null,
    };
    event(em, call, 'connection.expiring', aggregate, payload);
  });
}
