import type { Call } from '../call.ts';
import type { AuthorizationView } from './authorization-view.ts';
import { getAuthorization } from './get-authorization.ts';

/** Changes are announced; this often it is looked whether one was missed. */
const LOOK_MS = 2_000;

/** How an authorization stands, now and at each change, until it has ended or the caller leaves. Fails with AUTHORIZATION_NOT_FOUND. */
export async function* watchAuthorization(call: Call, id: string): AsyncGenerator<AuthorizationView> {
  const { app, principal, signal } = call;
  const changed = { kind: 'authorization' as const, tenantId: principal.tenantId, id };
  let told = '';
  while (!signal.aborted) {
    const waiting = app.changes.wait(changed, LOOK_MS, signal);
    const view = await getAuthorization(call, id);
    const state = `${view.status} ${view.reason}`;
    if (state !== told) yield view;
    told = state;
    if (view.status !== 'PENDING') return;
    await waiting;
  }
}
