import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { type AuthorizationView, viewOf } from './authorization-view.ts';
import { findAuthorization } from './find-authorization.ts';

/** How an authorization stands. Fails with AUTHORIZATION_NOT_FOUND. */
export function getAuthorization(call: Call, id: string): Promise<AuthorizationView> {
  return read(call, async (em) => viewOf(await findAuthorization(em, call, id), call.app.clock.now()));
}
