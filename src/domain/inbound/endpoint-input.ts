import { fieldInvalid, LatchkeyError } from '../../base/error.ts';
import type { SecretText } from '../../base/secret-text.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import { brokenUniqueConstraint } from '../../db/errors.ts';
import type { Em } from '../../db/transaction.ts';
import { signingSecretsPlace } from '../../model/inbound-endpoint.ts';
import type { Call } from '../call.ts';

/** The signing secrets of an endpoint as they are stored, for a generation. */
export function sealSigningSecrets(
  seal: Sealer,
  { tenantId, id, generation }: { tenantId: string; id: string; generation: number },
  secrets: readonly SecretText[],
) {
  const signingSecretCount = secrets.length;
  if (signingSecretCount === 0) return { signingSecrets: null, signingSecretCount, secretGeneration: generation };
  const plaintext = Buffer.from(JSON.stringify(secrets.map((secret) => secret.reveal())));
  const signingSecrets = seal(signingSecretsPlace(tenantId, id, generation), plaintext);
  plaintext.fill(0);
  return { signingSecrets, signingSecretCount, secretGeneration: generation };
}

/** The operator says how long messages are kept at most. Fails with FIELD_INVALID. */
export function checkRetention({ app }: Call, retentionDays: number | undefined): void {
  const most = app.config.retentionDays;
  if (retentionDays !== undefined && retentionDays > most)
    throw fieldInvalid('retention_days', `is more than the ${most} days that the service keeps messages`);
}

/** Writes an endpoint whose name may be taken. Fails with INBOUND_ENDPOINT_NAME_TAKEN. */
export async function flushNamed(em: Em, name: string): Promise<void> {
  try {
    await em.flush();
  } catch (error) {
    if (brokenUniqueConstraint(error) !== 'inbound_endpoint_name') throw error;
    throw new LatchkeyError('INBOUND_ENDPOINT_NAME_TAKEN', { metadata: { name } });
  }
}
