import { LatchkeyError } from '../../base/error.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { change, read } from '../change.ts';
import { type ConnectionView, viewOf } from '../connections/connection-view.ts';
import { findConnection } from '../connections/find-connection.ts';
import { loadCredential } from '../connections/load-credential.ts';
import { connectionNotFound } from '../connections/visibility.ts';
import { refresh } from './refresh.ts';
import { isRefreshable, refuseUnlessUsable } from './refuse-unless-usable.ts';

/** A connection that was refreshed within this time is not refreshed again. */
const LEAST_BETWEEN_MS = 30_000;

/**
 * Renews a connection's tokens now. `refreshed` false: they are no older than 30 s.
 * Fails with CONNECTION_NOT_FOUND, CONNECTION_DISABLED, REAUTHORIZATION_REQUIRED, REFRESH_NOT_SUPPORTED and as the provider does.
 */
export async function refreshConnection(call: Call, id: string): Promise<{ view: ConnectionView; refreshed: boolean }> {
  const { app, principal } = call;
  const { tenantId } = principal;
  const before = await read(call, async (em) => viewOf(em, await findConnection(em, call, id, 'connection:update')));
  const credential = await loadCredential(app, tenantId, id);
  if (!credential) throw connectionNotFound(id);
  refuseUnlessUsable(app, { ...credential, integrationEnabled: true, missingRequiredScopes: [] }, null);
  if (!isRefreshable(credential)) throw new LatchkeyError('REFRESH_NOT_SUPPORTED', { metadata: { connection_id: id } });
  if (isRecent(before, app.clock.now())) return { view: before, refreshed: false };
  await change(call, async (em) => audit(em, call, 'connection_refresh_requested', { type: 'connection', id }));
  const outcome = await refresh(app, credential, { force: true });
  if (outcome.kind === 'failed') throw outcome.error;
  const after = await loadCredential(app, tenantId, id);
  if (after) refuseUnlessUsable(app, { ...after, integrationEnabled: true, missingRequiredScopes: [] }, null);
  const view = await read(call, async (em) => viewOf(em, await findConnection(em, call, id, 'connection:update')));
  return { view, refreshed: outcome.refreshed };
}

function isRecent({ expireTime, lifetimeS }: ConnectionView, now: number): boolean {
  if (!expireTime || lifetimeS === null) return false;
  return now - (expireTime.getTime() - lifetimeS * 1000) < LEAST_BETWEEN_MS;
}
