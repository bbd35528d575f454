import { LatchkeyError } from '../../base/error.ts';
import { Connection } from '../../model/connection.ts';
import type { Call, ReadyCredential } from '../call.ts';
import { read } from '../change.ts';
import { refuseUnlessMayCreate } from '../connections/owner.ts';
import { canSee } from '../connections/visibility.ts';
import { getCredentials } from '../tokens/get-credentials.ts';
import { type StartedAuthorization, startAuthorization } from './start-authorization.ts';

export type EnsureRequest = {
  provider: string;
  projectId: string | null;
  scopes: readonly string[];
  returnUrl: string;
  minValidForMs: number | null;
};
export type Ensured = { credential: ReadyCredential } | { started: StartedAuthorization };

/** What a person can mend. */
const BY_A_PERSON = new Set(['REAUTHORIZATION_REQUIRED', 'SCOPE_MISSING']);

/** The credential of the caller's connection to a provider: the default one, else the newest. Where a person must act, where to send them. */
export async function ensureGrantedTokens(call: Call, request: EnsureRequest): Promise<Ensured> {
  const { provider, projectId, minValidForMs } = request;
  const { tenantId, userId } = call.principal;
  const found = await read(call, (em) =>
    em.find(
      Connection,
      { tenantId, provider, projectId, ownerUserId: userId },
      // In the order of the alphabet: what works first, what was revoked last.
      { orderBy: [{ status: 'asc' }, { isDefault: 'desc' }, { id: 'desc' }], limit: 20 },
    ),
  );
  const connection = found.find((candidate) => canSee(call.principal, 'credential:read', candidate));
  if (!connection) return { started: await start(call, request, null) };
  try {
    return { credential: await getCredentials(call, connection.id, minValidForMs) };
  } catch (error) {
    if (!(error instanceof LatchkeyError) || !BY_A_PERSON.has(error.reason)) throw error;
    return { started: await start(call, request, connection.id) };
  }
}

/** Takes `connection:create` on top. Fails with PERMISSION_MISSING. */
function start(call: Call, { provider, projectId, scopes, returnUrl }: EnsureRequest, connectionId: string | null) {
  refuseUnlessMayCreate(call);
  const { userId } = call.principal;
  const connection = {
    ...{ name: userId ? `${provider} ${userId}` : provider, displayName: '', projectId, ownerUserId: userId },
    ...{ ownerByEmail: false, isDefault: false, labels: {} },
  };
  return startAuthorization(call, {
    ...{ integrationId: '', provider, scopes, returnUrl, loginHint: '', method: 'CODE', redirectUri: '' },
    allowAccountChange: false,
    target: connectionId ? { connectionId } : { connection },
  });
}
