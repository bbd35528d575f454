import { LatchkeyError } from '../../base/error.ts';
import { newId } from '../../base/id.ts';
import { hot } from '../../db/hot.ts';
import { credentialPlace } from '../../model/credential.ts';
import type { JsonObject } from '../../model/json.ts';
import type { OAuthClient } from '../../oauth/client.ts';
import { OAuthError } from '../../oauth/oauth-error.ts';
import { refreshToken } from '../../oauth/refresh-token.ts';
import { refusesClient } from '../../oauth/refuses-client.ts';
import type { TokenSet } from '../../oauth/token-set.ts';
import { systemCall } from '../access/principal.ts';
import type { App, OAuthSetup, ReadyCredential, RefreshOutcome } from '../call.ts';
import { noteClientError } from '../integrations/note-client-error.ts';
import { oauthFailure } from '../integrations/oauth-failure.ts';
import { loadOAuthSetupOf } from '../integrations/oauth-setup.ts';
import { commitRefresh } from './commit-refresh.ts';
import { failRefresh } from './fail-refresh.ts';
import { failpoint } from './failpoints.ts';
import { type Lease, mayStillSend } from './lease.ts';
import { type RefreshState, readRefreshState, waitForRefresh } from './wait-for-refresh.ts';

type ClaimRow = {
  epoch: number;
  sealed: Buffer;
  fields: JsonObject;
  unresolved: boolean;
  failure_count: number;
  late: boolean;
};

/** Why tokens are renewed: somebody asks; the same, although a pause after a failure has not ended; it is time, and nobody waits. */
type Occasion = 'asked' | 'forced' | 'due';

/**
 * Renews a connection's tokens, exactly once over all replicas (refresh.md); where another replica is at it, waits for what comes of it. `force`: although a
 * pause after a failure has not ended.
 */
export async function refresh(app: App, credential: ReadyCredential, { force = false } = {}): Promise<RefreshOutcome> {
  const occasion = force ? 'forced' : 'asked';
  for (;;) {
    const outcome = await app.refreshes.share(credential, () => attempt(app, credential, occasion));
    // Null comes of an attempt of our own that does not wait.
    if (outcome) return outcome;
  }
}

/** The same where it is time, without waiting. Null: another replica is at it, or has seen to it. */
export function refreshIfDue(app: App, credential: ReadyCredential): Promise<RefreshOutcome | null> {
  return app.refreshes.share(credential, () => attempt(app, credential, 'due'));
}

async function attempt(app: App, credential: ReadyCredential, occasion: Occasion): Promise<RefreshOutcome | null> {
  const { tenantId, connectionId: id } = credential;
  try {
    // The setup of a disabled integration, too: its connections are kept fresh.
    const setup = await loadOAuthSetupOf(app, tenantId, credential.integrationId ?? '');
    const bulkhead = `${setup.client.definition.tokenUrl} ${setup.client.clientId}`;
    for (;;) {
      let outcome = await app.refreshes.withPermit(bulkhead, () => lead(app, credential, setup, occasion));
      if (!outcome && occasion === 'due') return null;
      outcome ??= settledBy(credential, await waitForRefresh(app, credential), occasion);
      // What moved by another's hand may have been seen before the word of it came.
      if (outcome?.kind === 'moved') app.forget({ kind: 'connection', tenantId, id });
      if (outcome) return outcome;
    }
  } catch (error) {
    if (!(error instanceof LatchkeyError)) app.log.error({ err: error }, 'a refresh failed unexpectedly');
    return { kind: 'failed', error: error instanceof Error ? error : new Error('unknown') };
  }
}

/** What somebody else's attempt, or time, has made of it; null: the lease is free. */
function settledBy(
  { generation, connectionId }: ReadyCredential,
  state: RefreshState | null,
  occasion: Occasion,
): RefreshOutcome | null {
  if (!state || state.generation !== generation || state.status !== 'ACTIVE')
    return { kind: 'moved', refreshed: state !== null && state.generation !== generation };
  if (state.pausedMs > 0 && occasion !== 'forced') return { kind: 'failed', error: paused(connectionId, state) };
  return null;
}

function paused(connectionId: string, { pausedMs, failureCode, failureClass }: RefreshState): LatchkeyError {
  const reason = failureClass === 'misconfigured' ? 'INTEGRATION_MISCONFIGURED' : 'PROVIDER_UNAVAILABLE';
  const metadata = { connection_id: connectionId, provider_error: failureCode };
  return new LatchkeyError(reason, {
    metadata,
    ...(reason === 'PROVIDER_UNAVAILABLE' ? { retryAfterMs: pausedMs } : {}),
  });
}

/** Takes the lease and refreshes; null where another has it, or has taken it over. */
async function lead(
  app: App,
  credential: ReadyCredential,
  setup: OAuthSetup,
  occasion: Occasion,
): Promise<RefreshOutcome | null> {
  const lease = await claim(app, credential, occasion);
  if (!lease) return settledBy(credential, await readRefreshState(app, credential), occasion);
  failpoint(app.config.refresh.failpoints, 'claimed');
  const token = (lease.late && (await candidateOf(app, credential))) || lease.secrets.refresh_token;
  if (!token) throw new Error('a credential without refresh token was claimed');
  try {
    const tokens = await send(app, setup, lease, token);
    failpoint(app.config.refresh.failpoints, 'answered');
    await commitRefresh(app, credential, setup, lease, tokens);
    failpoint(app.config.refresh.failpoints, 'published');
    return { kind: 'moved', refreshed: true };
  } catch (error) {
    return afterFailure(app, credential, setup, lease, error);
  }
}

async function claim(app: App, credential: ReadyCredential, occasion: Occasion): Promise<Lease | null> {
  const { tenantId, connectionId, generation } = credential;
  // So that what the provider answers is sealed at once.
  await app.keyring.prepare(tenantId);
  failpoint(app.config.refresh.failpoints, 'before_claim');
  const [claimedAt, wallAt] = [performance.now(), Date.now()];
  const attemptId = newId('att');
  const { leaseMs } = app.config.refresh;
  const values = [
    ...[tenantId, connectionId, generation, app.replicaId, attemptId, leaseMs],
    ...[occasion === 'forced', occasion === 'due'],
  ];
  const [row] = await hot<ClaimRow>(app.pool, 'claimRefresh', values);
  if (!row) return null;
  const opened = await app.keyring.open(credentialPlace(tenantId, connectionId, generation), row.sealed);
  const secrets = JSON.parse(opened.toString()) as Record<string, string>;
  opened.fill(0);
  const { epoch, fields, unresolved, failure_count: failures, late } = row;
  const known = { fields, secrets, afterUnresolved: unresolved, failures, late };
  return { epoch, attemptId, claimedAt, wallAt, ...known, sent: new Set() };
}

/** Sends inside the lease alone; once more with the same token where nobody knows what became of the first. */
async function send(app: App, { client, fetch }: OAuthSetup, lease: Lease, token: string): Promise<TokenSet> {
  const inside = insideLease(app, lease);
  const leaving: OAuthClient = {
    ...client,
    fetch: (url, init) => {
      failpoint(app.config.refresh.failpoints, 'before_send');
      const { callMs } = app.config.refresh;
      const mayLeave = () => {
        if (!inside()) return false;
        // In the next turn of the loop the request is with the kernel.
        setImmediate(failpoint, app.config.refresh.failpoints, 'sent');
        return true;
      };
      return fetch(url, { ...init, fresh: true, timeoutMs: callMs, mayLeave });
    },
  };
  if (!inside())
    throw new OAuthError('unavailable', 'the lease ended before the request left', { unanswered: 'not_sent' });
  lease.sent.add(token);
  // Without a new one the token that was sent stays, which need not be the stored one.
  const ask = async () => {
    const tokens = await refreshToken(leaving, token);
    return { ...tokens, refreshToken: tokens.refreshToken ?? token };
  };
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof OAuthError) || error.unanswered !== 'unknown' || !inside()) throw error;
    lease.afterUnresolved = true;
    return ask();
  }
}

/** Whether a call that leaves now ends before the lease does, by both clocks: one that was frozen sends nothing. */
function insideLease(app: App, { claimedAt, wallAt }: Lease): () => boolean {
  const { callMs, guardMs, leaseMs } = app.config.refresh;
  return () => {
    const monotonicMs = performance.now() - claimedAt;
    const wallMs = Date.now() - wallAt;
    const elapsedMs = Math.max(monotonicMs, wallMs);
    return mayStillSend({ elapsedMs, leaseMs, callMs, guardMs }) && wallMs > -guardMs;
  };
}

async function afterFailure(
  app: App,
  credential: ReadyCredential,
  setup: OAuthSetup,
  lease: Lease,
  error: unknown,
): Promise<RefreshOutcome | null> {
  const { tenantId, connectionId } = credential;
  if (!(error instanceof OAuthError)) throw error;
  if (error.unanswered === 'not_sent' && !insideLease(app, lease)()) {
    await hot(app.pool, 'releaseRefresh', [tenantId, connectionId, lease.epoch, lease.afterUnresolved]);
    return { kind: 'failed', error: asError(oauthFailure(error, setup.integration.id)) };
  }
  if (error.unanswered === 'unknown') lease.afterUnresolved = true;
  const other = error.failure === 'grant_dead' ? await unsentOf(app, credential, lease) : undefined;
  if (other && insideLease(app, lease)()) {
    try {
      const tokens = await send(app, setup, lease, other);
      await commitRefresh(app, credential, setup, lease, tokens);
      return { kind: 'moved', refreshed: true };
    } catch (second) {
      if (!(second instanceof OAuthError)) throw second;
      return afterRefusal(app, credential, setup, lease, second);
    }
  }
  return afterRefusal(app, credential, setup, lease, error);
}

/** Where one token is refused: the one that a late answer brought, or the stored one. */
async function unsentOf(app: App, credential: ReadyCredential, { sent, secrets }: Lease): Promise<string | undefined> {
  const candidate = await candidateOf(app, credential);
  return [candidate, secrets.refresh_token].find((token): token is string => !!token && !sent.has(token));
}

async function candidateOf(app: App, credential: ReadyCredential): Promise<string | null> {
  const state = await readRefreshState(app, credential);
  return state?.candidate ?? null;
}

async function afterRefusal(
  app: App,
  credential: ReadyCredential,
  setup: OAuthSetup,
  lease: Lease,
  error: OAuthError,
): Promise<RefreshOutcome | null> {
  const verdict = await failRefresh(app, credential, lease, error);
  if (!verdict) return null;
  if (refusesClient(error))
    await noteClientError(systemCall(app, credential.tenantId), setup.integration.id, error.code);
  if (verdict === 'reauthorize' || verdict === 'reauthorize_unknown') return { kind: 'moved', refreshed: false };
  return { kind: 'failed', error: asError(oauthFailure(error, setup.integration.id)) };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error('unknown');
}
