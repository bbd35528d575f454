import { Authorization } from '../../model/authorization.ts';
import { pollDevice as askOnce } from '../../oauth/device.ts';
import { OAuthError } from '../../oauth/oauth-error.ts';
import { systemCall } from '../access/principal.ts';
import type { App } from '../call.ts';
import { announce, change, read } from '../change.ts';
import { oauthFailure } from '../integrations/oauth-failure.ts';
import { loadOAuthSetupOf } from '../integrations/oauth-setup.ts';
import { fail } from './end-authorization.ts';
import { accept } from './exchange.ts';
import { openSecrets } from './secrets-of.ts';

/** What `slow_down` adds to the pause (RFC 8628, section 3.5). */
const SLOWER_S = 5;

/** Asks once whether the person has entered the code. Answers in how many ms to ask again; null: it has ended. */
export async function pollDevice(app: App, tenantId: string, id: string): Promise<number | null> {
  const call = systemCall(app, tenantId);
  const authorization = await read(call, (em) => em.findOne(Authorization, { tenantId, id }));
  if (authorization?.status !== 'PENDING' || !authorization.device) return null;
  if (authorization.expireTime.getTime() <= app.clock.now()) return null;
  const intervalMs = authorization.device.intervalS * 1000;
  try {
    const setup = await loadOAuthSetupOf(app, tenantId, authorization.integrationId);
    const { deviceCode } = await openSecrets(app, authorization);
    const tokens = await askOnce(setup.client, deviceCode ?? '');
    await accept(app, authorization, setup, tokens, new URLSearchParams());
    return null;
  } catch (error) {
    const failure = error instanceof OAuthError ? error.failure : null;
    if (failure === 'pending') return intervalMs;
    if (failure === 'slow_down') return slowDown(app, authorization);
    if (failure === 'unavailable' || failure === 'rate_limited')
      return Math.max(intervalMs * 2, (error as OAuthError).retryAfterMs ?? 0);
    if (error instanceof OAuthError && error.code === 'expired_token') await expire(app, authorization);
    else await fail(app, authorization, oauthFailure(error, authorization.integrationId));
    return null;
  }
}

async function slowDown(app: App, { tenantId, id }: Authorization): Promise<number> {
  return change(systemCall(app, tenantId), async (em) => {
    const authorization = await em.findOneOrFail(Authorization, { tenantId, id });
    const intervalS = authorization.device!.intervalS + SLOWER_S;
    authorization.device = { ...authorization.device!, intervalS };
    return intervalS * 1000;
  });
}

function expire(app: App, { tenantId, id }: Authorization): Promise<void> {
  return change(systemCall(app, tenantId), async (em) => {
    const authorization = await em.findOneOrFail(Authorization, { tenantId, id });
    authorization.expireTime = new Date(app.clock.now());
    announce(em, { kind: 'authorization', tenantId, id });
  });
}
