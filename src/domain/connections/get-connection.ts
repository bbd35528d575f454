import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { type ConnectionView, viewOf } from './connection-view.ts';
import { findConnection } from './find-connection.ts';

/** Answers one connection. Fails with CONNECTION_NOT_FOUND. */
export function getConnection(call: Call, id: string): Promise<ConnectionView> {
  return read(call, async (em) => viewOf(em, await findConnection(em, call, id, 'connection:read')));
}
