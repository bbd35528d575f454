import { Authorization } from '../../model/authorization.ts';
import { systemCall } from '../access/principal.ts';
import { audit } from '../audit/audit.ts';
import type { App } from '../call.ts';
import { announce, change } from '../change.ts';
import { viewOf } from './authorization-view.ts';

/** How long the end of an authorization can be looked up. */
const KEPT_MS = 7 * 24 * 3_600_000;

/** Writes down that time has ended an authorization, with nothing secret left of it, and deletes one that nobody asks for any more. */
export function closeAuthorization(app: App, tenantId: string, id: string): Promise<void> {
  const call = systemCall(app, tenantId);
  const now = app.clock.now();
  return change(call, async (em) => {
    const authorization = await em.findOne(Authorization, { tenantId, id });
    if (!authorization) return;
    if (authorization.expireTime.getTime() < now - KEPT_MS) {
      em.remove(authorization);
      return;
    }
    const { status, reason } = viewOf(authorization, now);
    if (status !== 'EXPIRED' && status !== 'FAILED') return;
    em.assign(authorization, {
      status: 'FAILED',
      reason: reason || 'AUTHORIZATION_EXPIRED',
      sealed: null,
      ticketHash: null,
    });
    const after = { authorization_id: id, reason: authorization.reason };
    audit(em, call, 'authorization_failed', { type: 'connection', id: authorization.connectionId }, { after });
    announce(em, { kind: 'authorization', tenantId, id });
  });
}
