import { hot } from '../../db/hot.ts';
import type { StoredStatus } from '../../model/connection.ts';
import { tokenGenerationPlace } from '../../model/token-generation.ts';
import type { App, ReadyCredential } from '../call.ts';

/** What the database says of a connection's refresh. */
export type RefreshState = {
  generation: number;
  status: StoredStatus;
  leased: boolean;
  /** How long nothing is to be tried, in ms. */
  pausedMs: number;
  failureClass: string;
  failureCode: string;
  /** Refresh token of the newest late answer, where none newer is stored. */
  candidate: string | null;
};

type Row = {
  generation: number;
  status: StoredStatus;
  leased: boolean;
  paused_ms: number;
  failure_class: string;
  failure_code: string;
  candidate: Buffer | null;
  candidate_attempt: string | null;
};

const FIRST_LOOK_MS = 50;
const LONGEST_LOOK_MS = 250;

/** Null: there is no such connection, or it has no credential any more. */
export async function readRefreshState(
  app: App,
  { tenantId, connectionId }: ReadyCredential,
): Promise<RefreshState | null> {
  const [row] = await hot<Row>(app.pool, 'readRefresh', [tenantId, connectionId]);
  if (!row) return null;
  const { generation, status, leased, candidate, candidate_attempt: attempt } = row;
  return {
    ...{ generation, status, leased, pausedMs: row.paused_ms },
    ...{ failureClass: row.failure_class, failureCode: row.failure_code },
    candidate: candidate && attempt ? await openCandidate(app, tenantId, attempt, candidate) : null,
  };
}

async function openCandidate(app: App, tenantId: string, attemptId: string, sealed: Buffer): Promise<string | null> {
  const opened = await app.keyring.open(tokenGenerationPlace(tenantId, attemptId), sealed);
  const { refresh_token: token } = JSON.parse(opened.toString()) as { refresh_token?: string };
  opened.fill(0);
  return token ?? null;
}

/** Waits while another replica holds the lease, with no connection of the pool held: woken by its commit, and looking by itself now and then (refresh.md, step 8). */
export async function waitForRefresh(app: App, credential: ReadyCredential): Promise<RefreshState | null> {
  const { tenantId, connectionId, generation } = credential;
  const nobody = new AbortController().signal;
  for (let lookMs = FIRST_LOOK_MS; ; lookMs = Math.min(lookMs * 1.5, LONGEST_LOOK_MS)) {
    const changed = { kind: 'connection' as const, tenantId, id: connectionId };
    const waiting = app.changes.wait(changed, lookMs * (0.5 + Math.random()), nobody);
    const state = await readRefreshState(app, credential);
    if (!state?.leased || state.generation !== generation || state.status !== 'ACTIVE') return state;
    await waiting;
  }
}
