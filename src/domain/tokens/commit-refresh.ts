import { newId } from '../../base/id.ts';
import { isDatabaseUnavailable } from '../../db/errors.ts';
import { hot } from '../../db/hot.ts';
import { credentialPlace } from '../../model/credential.ts';
import { tokenGenerationPlace } from '../../model/token-generation.ts';
import type { TokenSet } from '../../oauth/token-set.ts';
import { newAuditId } from '../audit/audit-id.ts';
import type { App, OAuthSetup, ReadyCredential } from '../call.ts';
import type { EventType } from '../events/event-types.ts';
import { dueTimes } from './due-times.ts';
import { failpoint } from './failpoints.ts';
import { refreshedScopes } from './granted-scopes.ts';
import type { Lease } from './lease.ts';
import { revokeLateGrant } from './revoke-late-grant.ts';
import { tokenSecrets } from './token-secrets.ts';

type CommitOutcome = 'committed' | 'already' | 'candidate' | 'superseded' | 'gone';

/** For how long tokens in hand are held while the database does not answer (refresh.md, step 5). */
const HOLD_MS = 60_000;
const FIRST_PAUSE_MS = 50;
/** Shorter than others take to find that the lease has ended: they would send a token that is used up. */
const LONGEST_PAUSE_MS = 250;

/**
 * Stores what a refresh yielded, first of all and in one statement. Tried again while the database does not answer: the attempt's id tells whether the
 * one before went through. Late tokens are kept as a candidate; those of a connection that is gone are revoked.
 */
export async function commitRefresh(
  app: App,
  credential: ReadyCredential,
  setup: OAuthSetup,
  lease: Lease,
  tokens: TokenSet,
): Promise<void> {
  const { tenantId, connectionId } = credential;
  const receivedAt = performance.now();
  const outcome = await holding(app, async () => {
    // Sealing, too, may need the database.
    const values = await statementValues(app, credential, setup, lease, tokens);
    failpoint(app.config.refresh.failpoints, 'before_commit');
    return hot<{ outcome: CommitOutcome }>(app.commitPool, 'commitRefresh', values);
  });
  failpoint(app.config.refresh.failpoints, 'committed');
  app.metrics.lossWindow.observe((performance.now() - receivedAt) / 1000);
  app.metrics.refreshes.inc({ provider: credential.provider, outcome });
  app.forget({ kind: 'connection', tenantId, id: connectionId });
  if (tokens.refreshTokenEmpty)
    app.log.warn({ connectionId }, 'a provider answered an empty refresh token; the one before is kept');
  if (outcome === 'gone') await revokeLateGrant(app, credential, setup, tokens);
}

/** PostgreSQL's classes of what the same statement does not run into again: deadlocks, limits, an operator's hand, its own faults. */
const PASSING = /^(40|53|55|57|58|XX)...$/;

function mayPass(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return isDatabaseUnavailable(error) || PASSING.test(code);
}

function holding(app: App, commit: () => Promise<{ outcome: CommitOutcome }[]>): Promise<CommitOutcome> {
  const since = performance.now();
  return app.refreshes.hold(async () => {
    for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
      try {
        const [row] = await commit();
        return row!.outcome;
      } catch (error) {
        if (!mayPass(error) || performance.now() - since > HOLD_MS) throw error;
        app.log.warn({ err: error }, 'refreshed tokens wait for the database');
        await new Promise((done) => setTimeout(done, pauseMs));
      }
    }
  });
}

async function statementValues(
  app: App,
  { tenantId, connectionId, generation, provider }: ReadyCredential,
  setup: OAuthSetup,
  lease: Lease,
  tokens: TokenSet,
): Promise<unknown[]> {
  const seal = await app.keyring.sealer(tenantId);
  const now = app.clock.now();
  const after = (seconds: number | null) => (seconds === null ? null : new Date(now + seconds * 1000));
  const { requested, granted, missing } = refreshedScopes(lease.fields, setup, tokens);
  const expireTime = after(tokens.expiresInS);
  const token = {
    fields: { ...lease.fields, requested_scopes: requested, scopes: granted },
    ...{ expireTime, lifetimeS: tokens.expiresInS, refreshExpireTime: after(tokens.refreshExpiresInS) },
    ...dueTimes(setup.client, connectionId, tokens, now),
    ...{ grantedScopes: granted, missingScopes: missing },
  };
  const plaintext = Buffer.from(JSON.stringify({ ...lease.secrets, ...tokenSecrets(tokens) }));
  const sealed = seal(credentialPlace(tenantId, connectionId, generation + 1), plaintext);
  const kept = seal(tokenGenerationPlace(tenantId, lease.attemptId), plaintext);
  plaintext.fill(0);
  const said = { provider, generation: generation + 1, expire_time: expireTime, scopes: granted };
  return [
    ...[tenantId, connectionId, lease.epoch, generation, lease.attemptId, JSON.stringify(token), sealed, kept],
    JSON.stringify({ id: newAuditId(app.auditKeys, tenantId, now), action: 'connection_refreshed', after: said }),
    JSON.stringify({
      ...{ id: newId('evt', now), type: 'connection.refreshed' satisfies EventType, generation: generation + 1 },
      ...{ payload: said, recoveredId: newId('evt', now), scopesChangedId: newId('evt', now) },
    }),
  ];
}
