import { newId } from '../../base/id.ts';
import { hot } from '../../db/hot.ts';
import type { OAuthError } from '../../oauth/oauth-error.ts';
import { newAuditId } from '../audit/audit-id.ts';
import type { App, ReadyCredential } from '../call.ts';
import type { EventType } from '../events/event-types.ts';
import { judgeAnswer, pauseMs, type Verdict } from './judge-answer.ts';
import type { Lease } from './lease.ts';

/** What a dead grant is called where an attempt before may have used its token up unseen. */
const OUTCOME_UNKNOWN = 'refresh_outcome_unknown';

/**
 * Writes down that a refresh failed, ends its lease and says when to try again, in one statement; a grant that is called dead is asked about once more after a
 * minute. Null: the lease or the generation has moved on, and the failure says nothing any more.
 */
export async function failRefresh(
  app: App,
  credential: ReadyCredential,
  lease: Lease,
  error: OAuthError,
): Promise<Verdict | null> {
  const { tenantId, connectionId, generation, provider } = credential;
  const verdict = judgeAnswer(error.failure, lease.afterUnresolved);
  const dead = verdict === 'reauthorize' || verdict === 'reauthorize_unknown';
  const reason = verdict === 'reauthorize_unknown' ? OUTCOME_UNKNOWN : error.code;
  const pause = pauseMs(verdict, lease.failures, error.retryAfterMs, Math.random());
  const failure = {
    // Stays until a refresh succeeds: an answer after it says nothing of what became of the token.
    class: lease.afterUnresolved ? 'unresolved' : verdict,
    ...{ verdict, code: error.code, pauseMs: pause },
    ...{ status: dead ? 'REAUTHORIZATION_REQUIRED' : '', reason },
  };
  const said = { provider, provider_error: error.code, reason, next_attempt_in_ms: dead ? null : pause };
  const now = app.clock.now();
  const type: EventType = dead ? 'connection.reauthorization_required' : 'connection.refresh_failed';
  const [row] = await hot<{ applied: boolean }>(app.pool, 'failRefresh', [
    ...[tenantId, connectionId, lease.epoch, generation, JSON.stringify(failure)],
    JSON.stringify({ id: newAuditId(app.auditKeys, tenantId, now), action: 'connection_refresh_failed', after: said }),
    JSON.stringify({ id: newId('evt', now), type, generation, payload: said }),
  ]);
  const applied = row!.applied;
  app.metrics.refreshes.inc({ provider, outcome: applied ? verdict : 'late' });
  app.log.warn({ err: error, connectionId, verdict, reason, applied }, 'a refresh failed');
  app.forget({ kind: 'connection', tenantId, id: connectionId });
  return applied ? verdict : null;
}
