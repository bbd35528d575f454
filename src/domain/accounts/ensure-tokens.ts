import { auditRead } from '../audit/audit.ts';
import { type Ensured, type EnsureRequest, ensureGrantedTokens } from '../authorizations/ensure-granted-tokens.ts';
import type { Call } from '../call.ts';
import { read } from '../change.ts';
import { lookUpProvider } from '../integrations/find-provider.ts';
import { behaviourAt } from '../integrations/provider-instance.ts';
import { accountTokens } from './account-tokens.ts';

/** Tokens of the caller at a provider: of the account that Latchkey makes there, else of what a person granted. */
export async function ensureTokens(call: Call, request: EnsureRequest): Promise<Ensured> {
  const { provider, minValidForMs } = request;
  const known = await read(call, (em) => lookUpProvider(call.app, em, call.principal.tenantId, provider));
  if (!known || !behaviourAt(known).renewTokens) return ensureGrantedTokens(call, request);
  const credential = await accountTokens(call, provider, { minValidForMs });
  await auditRead(call, 'credentials_read', { type: 'connection', id: credential.connectionId });
  call.app.readAudit.used(credential.tenantId, credential.connectionId);
  return { credential };
}
