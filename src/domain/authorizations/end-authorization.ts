import { LatchkeyError } from '../../base/error.ts';
import { isDatabaseUnavailable } from '../../db/errors.ts';
import type { Em } from '../../db/transaction.ts';
import { Authorization, type Starter } from '../../model/authorization.ts';
import { Connection } from '../../model/connection.ts';
import { OAuthError } from '../../oauth/oauth-error.ts';
import { refusesClient } from '../../oauth/refuses-client.ts';
import { audit } from '../audit/audit.ts';
import type { App, Call, OAuthSetup } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { noteClientError } from '../integrations/note-client-error.ts';
import { type Grant, storeGrant } from './store-grant.ts';

/** Result of an authorization, as it is written down. */
type Ending = Pick<Authorization, 'status' | 'reason' | 'providerError' | 'missingScopes'>;

/** For how long a grant in hand is held while the database does not answer. */
const HOLD_MS = 60_000;
const HOLD_PAUSE_MS = 500;

/** What happens at the end happens in the name of who started. */
function callOf(app: App, tenantId: string, { kind, id, userId, address }: Starter): Call {
  return {
    app,
    principal: {
      ...{ tenantId, kind, id, userId, permissions: new Set(), ownPermissions: new Set(), projectIds: null },
      ...{ administrator: false, expiresAt: Number.POSITIVE_INFINITY, rates: null },
    },
    ...{ requestId: '', address, signal: new AbortController().signal },
  };
}

/** Stores a grant and ends the authorization, together. A grant is never thrown away because the database is down for a moment. */
export async function succeed(
  app: App,
  authorization: Authorization,
  setup: OAuthSetup,
  grant: Grant,
): Promise<Authorization> {
  const { tenantId, id, starter } = authorization;
  const call = callOf(app, tenantId, starter);
  const heldSince = performance.now();
  for (;;) {
    try {
      const seal = await app.keyring.sealer(tenantId);
      const ended = await change(call, async (em) => {
        const missing = await storeGrant(em, call, seal, authorization, setup, grant);
        return end(em, call, id, { status: 'SUCCEEDED', reason: '', providerError: '', missingScopes: missing });
      });
      return ended ?? authorization;
    } catch (error) {
      if (!isDatabaseUnavailable(error) || performance.now() - heldSince > HOLD_MS) throw error;
      app.log.warn({ err: error, authorizationId: id }, 'a grant waits for the database');
      await new Promise((done) => setTimeout(done, HOLD_PAUSE_MS));
    }
  }
}

/** Ends an authorization that failed; the connection is as it was. */
export async function fail(app: App, authorization: Authorization, error: unknown): Promise<Authorization> {
  const { tenantId, id, starter, integrationId } = authorization;
  const failure = error instanceof LatchkeyError ? error : new LatchkeyError('INTERNAL', { cause: error });
  const { reason, metadata } = failure;
  const providerError = metadata.provider_error ?? '';
  const log = { err: failure.cause ?? failure, authorizationId: id, reason, providerError };
  if (reason === 'INTERNAL') app.log.error(log, 'an authorization failed');
  else app.log.warn(log, 'an authorization failed');
  const call = callOf(app, tenantId, starter);
  if (failure.cause instanceof OAuthError && refusesClient(failure.cause))
    await noteClientError(call, integrationId, providerError);
  const ending = { status: 'FAILED' as const, reason, providerError, missingScopes: [] };
  const ended = await change(call, (em) => end(em, call, id, ending));
  // Its connection was deleted meanwhile, and it with that.
  return ended ?? Object.assign(authorization, ending);
}

async function end(em: Em, call: Call, id: string, ending: Ending): Promise<Authorization | null> {
  const { tenantId } = call.principal;
  const authorization = await em.findOne(Authorization, { tenantId, id });
  if (!authorization) return null;
  em.assign(authorization, { ...ending, sealed: null, updateTime: new Date(call.app.clock.now()) });
  const succeeded = ending.status === 'SUCCEEDED';
  const resource = { type: 'connection', id: authorization.connectionId };
  const after = { authorization_id: id, reason: ending.reason, provider_error: ending.providerError };
  audit(em, call, succeeded ? 'authorization_succeeded' : 'authorization_failed', resource, { after });
  if (!succeeded) {
    const connection = await em.findOneOrFail(Connection, { tenantId, id: authorization.connectionId });
    event(em, call, 'connection.authorization_failed', connection.aggregate(), after);
  }
  announce(em, { kind: 'authorization', tenantId, id });
  await em.flush();
  return authorization;
}
