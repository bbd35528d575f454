import type { SecretText } from '../../base/secret-text.ts';
import { type Secret, secretPlace } from '../../model/secret.ts';
import { audit } from '../audit/audit.ts';
import type { Call } from '../call.ts';
import { announce, change } from '../change.ts';
import { event } from '../events/event.ts';
import { findSecret } from './find-secret.ts';

type NewValue = { name: string; projectId: string | null; value: SecretText };

/** Replaces a secret's value. Fails with SECRET_NOT_FOUND. */
export async function updateSecret(call: Call, { name, projectId, value }: NewValue): Promise<Secret> {
  const { tenantId } = call.principal;
  const seal = await call.app.keyring.sealer(tenantId);
  return change(call, async (em) => {
    const secret = await findSecret(em, call, name, projectId);
    const before = secret.summary();
    const place = secretPlace(tenantId, secret.id, secret.generation + 1);
    secret.replaceValue(seal(place, Buffer.from(value.reveal())), new Date(call.app.clock.now()));
    const resource = { type: 'secret', id: secret.id };
    audit(em, call, 'secret_updated', resource, { before, after: secret.summary() });
    event(em, call, 'secret.updated', secret.aggregate(), { name });
    announce(em, { kind: 'secret', tenantId, id: secret.id });
    return secret;
  });
}
