import { LatchkeyError } from '../../base/error.ts';
import type { Exchange } from './exchange.ts';

/** Whether the caller may call the method at all, as the contract says. What they may call it on, the verb decides. */
export function authorise({ incoming, principal }: Exchange): void {
  const { permission } = incoming.method.access;
  if (!permission || !principal) return;
  if (principal.permissions.has(permission) || principal.ownPermissions.has(permission)) return;
  throw new LatchkeyError('PERMISSION_MISSING', { metadata: { permission } });
}
