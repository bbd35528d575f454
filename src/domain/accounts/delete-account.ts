import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { misconfigured } from '../integrations/oauth-setup.ts';
import { instanceFor } from '../integrations/provider-instance.ts';
import { findAccount } from './find-account.ts';
import { removeAccount } from './remove-account.ts';

/**
 * Deletes an account here and at its provider; `hereAlone`: what is there stays. Its use here ends first; what a failure interrupts goes on by itself.
 * Fails with ACCOUNT_NOT_FOUND, PERMISSION_MISSING, INTEGRATION_MISCONFIGURED, INTEGRATION_DISABLED, PROVIDER_UNAVAILABLE, PROVIDER_RATE_LIMITED,
 * USER_SERVICE_UNAVAILABLE, ADDRESS_FORBIDDEN.
 */
export async function deleteAccount(call: Call, id: string, hereAlone: boolean): Promise<void> {
  const { provider, baseUrl } = await read(call, (em) => findAccount(em, call, id, 'connection:delete'));
  if (hereAlone) return removeAccount(call, id, null);
  const instance = await instanceFor(call.app, call.principal.tenantId, provider);
  if (instance.baseUrl !== baseUrl) throw misconfigured(instance.integrationId, 'instance_changed');
  return removeAccount(call, id, instance);
}
