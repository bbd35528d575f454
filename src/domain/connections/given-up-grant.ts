import { LatchkeyError } from '../../base/error.ts';
import { IntegrityError } from '../../crypto/sealed-value.ts';
import type { App, OAuthSetup } from '../call.ts';
import { loadOAuthSetupOf } from '../integrations/oauth-setup.ts';
import { loadCredential } from './load-credential.ts';
import type { GivenUpGrant } from './schedule-revocation.ts';

/** Opens what a revocation needs of a connection. A credential that does not open, or an integration that is not set up, is no reason to keep a connection. */
export async function givenUpGrant(app: App, tenantId: string, connectionId: string): Promise<GivenUpGrant> {
  const seal = await app.keyring.sealer(tenantId);
  const credential = await loadCredential(app, tenantId, connectionId).catch((error: unknown) => {
    if (error instanceof IntegrityError) return null;
    throw error;
  });
  const setup = credential?.integrationId ? await setupOf(app, tenantId, credential.integrationId) : null;
  return { credential, setup, seal };
}

async function setupOf(app: App, tenantId: string, integrationId: string): Promise<OAuthSetup | null> {
  try {
    return await loadOAuthSetupOf(app, tenantId, integrationId);
  } catch (error) {
    if (error instanceof LatchkeyError && SET_UP_WRONG.has(error.reason)) return null;
    throw error;
  }
}

const SET_UP_WRONG = new Set(['INTEGRATION_NOT_FOUND', 'INTEGRATION_MISCONFIGURED', 'PROVIDER_NOT_FOUND']);
