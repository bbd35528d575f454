import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { type StatusReport, statusOf } from './connection-status.ts';
import { type ConnectionView, viewOf } from './connection-view.ts';
import { findConnection } from './find-connection.ts';

/** Says whether a connection can be used. Fails with CONNECTION_NOT_FOUND. */
export function getConnectionStatus(
  call: Call,
  id: string,
): Promise<ConnectionView & StatusReport & { tokenValid: boolean }> {
  return read(call, async (em) => {
    const view = await viewOf(em, await findConnection(em, call, id, 'connection:read'));
    const now = call.app.clock.now();
    const { connection, expireTime } = view;
    const tokenValid =
      connection.kind === 'oauth2' && connection.status === 'ACTIVE' && (!expireTime || expireTime.getTime() > now);
    return { ...view, ...statusOf(view, now), tokenValid };
  });
}
