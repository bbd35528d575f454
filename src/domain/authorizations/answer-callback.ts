import { LatchkeyError } from '../../base/error.ts';
import { sameHash } from '../../crypto/constant-time.ts';
import { hot } from '../../db/hot.ts';
import { Authorization } from '../../model/authorization.ts';
import { systemCall } from '../access/principal.ts';
import type { App } from '../call.ts';
import { change, read } from '../change.ts';
import { type AuthorizationView, viewOf } from './authorization-view.ts';
import { exchange } from './exchange.ts';
import { hashText } from './secrets-of.ts';

/** Whether what came back may be taken from who brought it. */
export type Bound = (authorization: Authorization) => boolean;

/** Where it came to, where that is one of our own addresses; empty: an application's. */
export type Arrival = { query: URLSearchParams; redirectUri: string; bound: Bound; signal: AbortSignal };

const LOOK_MS = 1_000;
/** For how long the same answer, brought again, is told how the first one went. */
const REPEATABLE_MS = 600_000;

/** Brought by the browser that was sent off. */
export function boundToBrowser(browser: string): Bound {
  return ({ browserHash }) => browserHash !== null && sameHash(Buffer.from(browserHash), hashText(browser));
}

/**
 * Takes what a provider sent back. A state is good once: whoever brings the same answer again, as a browser that repeats its request does, is told how the
 * first one went. Answers how the authorization ended. Fails with AUTHORIZATION_STATE_INVALID, without a request to the provider.
 */
export async function answerCallback(app: App, arrival: Arrival): Promise<AuthorizationView> {
  const { query } = arrival;
  const state = query.get('state') ?? '';
  const [route] = await hot<{ tenant_id: string; id: string }>(app.pool, 'routeState', [hashText(state)]);
  if (!route) throw new LatchkeyError('AUTHORIZATION_STATE_INVALID');
  const authorization = await load(app, route.tenant_id, route.id);
  refuseForeign(authorization, arrival);
  const answerHash = hashText(query.toString());
  const now = new Date(app.clock.now());
  const claimed = await change(systemCall(app, route.tenant_id), (em) =>
    em.nativeUpdate(
      Authorization,
      { tenantId: route.tenant_id, id: route.id, status: 'PENDING', codeHash: null, expireTime: { $gt: now } },
      { status: 'EXCHANGING', codeHash: answerHash, claimTime: now, updateTime: now },
    ),
  );
  // Goes on when the browser leaves, and when the process is told to.
  if (claimed === 1) {
    const ended = await app.refreshes.hold(() => exchange(app, authorization, state, query));
    return viewOf(ended, app.clock.now());
  }
  return outcomeOfFirst(app, authorization, answerHash, arrival.signal);
}

async function outcomeOfFirst(
  app: App,
  { tenantId, id }: Authorization,
  answerHash: Buffer,
  signal: AbortSignal,
): Promise<AuthorizationView> {
  while (!signal.aborted) {
    const waiting = app.changes.wait({ kind: 'authorization', tenantId, id }, LOOK_MS, signal);
    const authorization = await load(app, tenantId, id);
    const { codeHash, claimTime } = authorization;
    const same = codeHash !== null && sameHash(Buffer.from(codeHash), answerHash);
    const recent = claimTime !== null && app.clock.now() - claimTime.getTime() < REPEATABLE_MS;
    if (!same || !recent) throw new LatchkeyError('AUTHORIZATION_STATE_INVALID');
    const view = viewOf(authorization, app.clock.now());
    if (view.status !== 'PENDING') return view;
    await waiting;
  }
  throw new LatchkeyError('CANCELLED');
}

function refuseForeign(authorization: Authorization, { bound, redirectUri }: Arrival): void {
  const elsewhere = redirectUri !== '' && redirectUri !== authorization.redirectUri;
  if (elsewhere || !bound(authorization)) throw new LatchkeyError('AUTHORIZATION_STATE_INVALID');
}

async function load(app: App, tenantId: string, id: string): Promise<Authorization> {
  const found = await read(systemCall(app, tenantId), (em) => em.findOne(Authorization, { tenantId, id }));
  if (!found) throw new LatchkeyError('AUTHORIZATION_STATE_INVALID');
  return found;
}
