import { fieldInvalid } from '../../base/error.ts';
import type { SecretText } from '../../base/secret-text.ts';
import type { InboundEndpoint, InboundVerification } from '../../model/inbound-endpoint.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { checkKeptHeaders, checkSecrets, checkVerification } from './check-scheme.ts';
import { completeVerification, type GivenVerification } from './create-inbound-endpoint.ts';
import { checkRetention, flushNamed, sealSigningSecrets } from './endpoint-input.ts';
import { lockInboundEndpoint } from './visibility.ts';

/** Undefined: unchanged. */
export type InboundEndpointPatch = {
  name: string | undefined;
  enabled: boolean | undefined;
  verification: GivenVerification | undefined;
  signingSecrets: readonly SecretText[] | undefined;
  maxBodyBytes: number | undefined;
  maxPerMinute: number | undefined;
  retentionDays: number | undefined;
  keepHeaders: string[] | undefined;
};

/** Changes what the patch sets. Fails with INBOUND_ENDPOINT_NOT_FOUND, INBOUND_ENDPOINT_NAME_TAKEN, FIELD_INVALID, ETAG_MISMATCH. */
export async function updateInboundEndpoint(
  call: Call,
  id: string,
  etag: string,
  patch: InboundEndpointPatch,
): Promise<InboundEndpoint> {
  const { tenantId } = call.principal;
  checkRetention(call, patch.retentionDays);
  const seal = await call.app.keyring.sealer(tenantId);
  return change(call, async (em) => {
    const endpoint = await lockInboundEndpoint(em, call, id, etag);
    const before = endpoint.summary();
    const { verification: given, signingSecrets, ...fields } = patch;
    const verification = given ? completeVerification(given, endpoint.provider) : endpoint.verification;
    const secrets = secretsFor(verification, given !== undefined, signingSecrets);
    checkVerification(verification);
    if (secrets) checkSecrets(verification, secrets);
    checkKeptHeaders(verification, patch.keepHeaders ?? endpoint.keepHeaders);
    const set = Object.entries(fields).filter(([, value]) => value !== undefined);
    em.assign(endpoint, { ...Object.fromEntries(set), verification });
    if (secrets) {
      const generation = endpoint.secretGeneration + 1;
      em.assign(endpoint, sealSigningSecrets(seal, { tenantId, id, generation }, secrets));
    }
    endpoint.changed(new Date(call.app.clock.now()));
    await flushNamed(em, endpoint.name);
    const resource = { type: 'inbound_endpoint', id };
    const after = endpoint.summary();
    audit(em, call, 'inbound_endpoint_updated', resource, { before, after });
    event(em, call, 'inbound_endpoint.updated', endpoint.aggregate(), after);
    announce(em, { kind: 'inbound_endpoint', tenantId, id });
    return endpoint;
  });
}

/** Secrets in place of the stored ones, which are of the scheme that was: a new one takes new secrets, and NONE has none. Undefined: they stay. */
function secretsFor(
  { scheme }: InboundVerification,
  changed: boolean,
  given: readonly SecretText[] | undefined,
): readonly SecretText[] | undefined {
  if (given || !changed) return given;
  if (scheme !== 'NONE') throw fieldInvalid('signing_secrets', 'is required with another verification');
  return [];
}
