import { fieldInvalid } from '../../base/error.ts';
import { Secret, secretPlace } from '../../model/secret.ts';
import type { Call, ReadyCredential } from '../call.ts';
import { read } from '../change.ts';
import { refuseUnlessMayUseSecrets, secretIdOf } from '../connections/secret-reference.ts';
import type { CredentialInput } from '../connections/store-credential.ts';

const KINDS = ['api_key', 'bearer', 'basic'];

/**
 * The credential that a request brings along, in place of the connection's. Fails with FIELD_INVALID, SECRET_MISSING, PERMISSION_MISSING (`secret:use`).
 */
export async function explicitAuth(
  call: Call,
  connection: ReadyCredential,
  { kind, fields, secrets: sources }: CredentialInput,
): Promise<ReadyCredential> {
  if (!KINDS.includes(kind)) throw fieldInvalid('auth', `must be one of ${KINDS.join(', ')}`);
  const secrets: Record<string, string> = {};
  for (const [field, source] of Object.entries(sources))
    secrets[field] = 'value' in source ? source.value.reveal() : await namedSecret(call, connection, field, source);
  return { ...connection, kind, fields, secrets };
}

async function namedSecret(
  call: Call,
  { tenantId, projectId }: ReadyCredential,
  field: string,
  { secretRef }: { secretRef: string },
): Promise<string> {
  refuseUnlessMayUseSecrets(call);
  const secret = await read(call, async (em) => {
    const id = await secretIdOf(em, { tenantId, projectId }, field, secretRef);
    return em.findOneOrFail(Secret, { tenantId, id });
  });
  const opened = await call.app.keyring.open(secretPlace(tenantId, secret.id, secret.generation), secret.value);
  const text = opened.toString();
  opened.fill(0);
  return text;
}
