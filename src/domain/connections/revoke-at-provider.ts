import { LatchkeyError } from '../../base/error.ts';
import { Connection } from '../../model/connection.ts';
import { Revocation, revocationPlace } from '../../model/revocation.ts';
import { OAuthError } from '../../oauth/oauth-error.ts';
import { revokeToken } from '../../oauth/revoke-token.ts';
import { systemCall } from '../access/principal.ts';
import { audit } from '../audit/audit.ts';
import type { App, Call } from '../call.ts';
import { change, read } from '../change.ts';
import { event, UNKNOWN_OWNER } from '../events/event.ts';
import type { SealedGrant } from './schedule-revocation.ts';

/** How long a provider that does not answer is asked again. */
const GIVE_UP_MS = 24 * 3_600_000;
const FIRST_PAUSE_MS = 30_000;
const LONGEST_PAUSE_MS = 3_600_000;

/**
 * Has the provider revoke a grant. Answers in how many ms to try again; null: it is settled, and the tokens are forgotten. Each attempt that fails is
 * audited: the tokens are still live.
 */
export async function revokeAtProvider(app: App, tenantId: string, id: string): Promise<number | null> {
  const call = systemCall(app, tenantId);
  const revocation = await read(call, (em) => em.findOne(Revocation, { tenantId, id }));
  if (!revocation?.sealed || revocation.status !== 'PENDING') return null;
  const opened = await app.keyring.open(revocationPlace(tenantId, id), revocation.sealed);
  const grant = JSON.parse(opened.toString()) as SealedGrant;
  opened.fill(0);
  try {
    await revokeToken(app.egress.fetch, revocation.request, grant);
  } catch (error) {
    const failure = error instanceof OAuthError ? error : null;
    const code = failure?.code || (error instanceof LatchkeyError ? error.reason : 'unknown');
    const passing = failure?.failure === 'unavailable' || failure?.failure === 'rate_limited';
    const tooLate = app.clock.now() - revocation.createTime.getTime() >= GIVE_UP_MS;
    if (!passing || tooLate) {
      await settle(call, revocation, 'GIVEN_UP', code);
      return null;
    }
    await noteAttempt(call, revocation, code);
    const pauseMs = failure?.retryAfterMs ?? Math.min(FIRST_PAUSE_MS * 2 ** revocation.attempts, LONGEST_PAUSE_MS);
    return Math.max(pauseMs, FIRST_PAUSE_MS);
  }
  await settle(call, revocation, 'REVOKED', '');
  return null;
}

function settle(call: Call, { tenantId, id }: Revocation, status: 'REVOKED' | 'GIVEN_UP', error: string) {
  return change(call, async (em) => {
    const revocation = await em.findOneOrFail(Revocation, { tenantId, id });
    if (revocation.status !== 'PENDING') return;
    const settleTime = new Date(call.app.clock.now());
    em.assign(revocation, { status, sealed: null, lastError: error, attempts: revocation.attempts + 1, settleTime });
    const what = status === 'REVOKED' ? 'grant_revoked' : 'grant_revocation_given_up';
    const resource = { type: 'connection', id: revocation.connectionId };
    const after = { provider: revocation.provider, attempts: revocation.attempts, provider_error: error };
    audit(em, call, what, resource, { after });
    const connection = await em.findOne(Connection, { tenantId, id: revocation.connectionId });
    const gone = { ...resource, generation: 0, ownerUserId: UNKNOWN_OWNER, projectId: null };
    event(em, call, `connection.${what}`, connection?.aggregate() ?? gone, after);
  });
}

function noteAttempt(call: Call, { tenantId, id }: Revocation, error: string) {
  return change(call, async (em) => {
    const revocation = await em.findOneOrFail(Revocation, { tenantId, id });
    em.assign(revocation, { attempts: revocation.attempts + 1, lastError: error });
    const after = { provider: revocation.provider, attempts: revocation.attempts, provider_error: error };
    audit(em, call, 'grant_still_live', { type: 'connection', id: revocation.connectionId }, { after });
  });
}
