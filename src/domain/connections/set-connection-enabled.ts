import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { type ConnectionView, viewOf } from './connection-view.ts';
import { lockConnection } from './find-connection.ts';

/** Enables or disables a connection. Fails with CONNECTION_NOT_FOUND. */
export function setConnectionEnabled(call: Call, id: string, enabled: boolean): Promise<ConnectionView> {
  const { tenantId } = call.principal;
  return change(call, async (em) => {
    const connection = await lockConnection(em, call, id, 'connection:update');
    if (connection.enabled === enabled) return viewOf(em, connection);
    const before = connection.summary();
    connection.enabled = enabled;
    connection.changed(new Date(call.app.clock.now()));
    const resource = { type: 'connection', id };
    const what = enabled ? 'enabled' : 'disabled';
    audit(em, call, `connection_${what}`, resource, { before, after: connection.summary() });
    event(em, call, `connection.${what}`, connection.aggregate(), connection.summary());
    announce(em, { kind: 'connection', tenantId, id });
    return viewOf(em, connection);
  });
}
