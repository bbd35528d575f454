import type { SecretText } from '../../base/secret-text.ts';
import type { Sealer } from '../../crypto/keyring.ts';
import type { Em } from '../../db/transaction.ts';
import type { Connection, CredentialKind } from '../../model/connection.ts';
import { Credential, credentialPlace } from '../../model/credential.ts';
import { CredentialSecretRef } from '../../model/credential-secret-ref.ts';
import type { JsonObject } from '../../model/json.ts';
import type { Call } from '../call.ts';
import { refuseUnlessMayUseSecrets, secretIdOf } from './secret-reference.ts';

/** A secret field: its value, or the name of a stored secret. */
export type SecretSource = { value: SecretText } | { secretRef: string };

/** A credential as it is given: open fields and secret ones. */
export type CredentialInput = {
  kind: CredentialKind;
  fields: JsonObject;
  secrets: Record<string, SecretSource>;
  expireTime: Date | null;
  /** Scopes that were granted, of the kinds that have such. */
  scopes?: string[];
  /** Of a grant. */
  refreshExpireTime?: Date | null;
  /** Seconds that its access token lives when it is new, where that is known. */
  lifetimeS?: number | null;
  /** When to renew it; null: never. */
  refreshDue?: Date | null;
  /** When to renew it although nobody uses it, so that its refresh token lives on; null: never. */
  keepaliveDue?: Date | null;
};

/** Stores the credential of a connection that is stored, in place of the one it had. Fails with SECRET_MISSING, PERMISSION_MISSING. */
export async function storeCredential(
  em: Em,
  call: Call,
  seal: Sealer,
  connection: Connection,
  input: CredentialInput,
): Promise<void> {
  const { tenantId, id: connectionId } = connection;
  const stored = await em.findOne(Credential, { tenantId, connectionId });
  const generation = (stored?.generation ?? 0) + 1;
  const direct = Object.entries(input.secrets).flatMap(([field, source]) =>
    'value' in source ? [[field, source.value.reveal()]] : [],
  );
  const plaintext = Buffer.from(JSON.stringify(Object.fromEntries(direct)));
  const sealed = seal(credentialPlace(tenantId, connectionId, generation), plaintext);
  plaintext.fill(0);
  const {
    fields,
    expireTime,
    refreshExpireTime = null,
    lifetimeS = null,
    refreshDue = null,
    keepaliveDue = null,
  } = input;
  const values = {
    ...{ fields, sealed, generation, expireTime, refreshExpireTime, lifetimeS, refreshDue, keepaliveDue },
    // A refresh of the credential before, should one be under way, is fenced off.
    ...{ grantedGeneration: generation, leaseEpoch: (stored?.leaseEpoch ?? 0) + 1, leaseUntil: null, attemptId: '' },
    ...{ refreshNotBefore: null, failureClass: '', failureCode: '', failureCount: 0, failingSince: null },
    expiryWarned: false,
    expiredGeneration: stored?.expiredGeneration ?? 0,
  };
  if (stored) em.assign(stored, values);
  else em.create(Credential, { tenantId, connectionId, ...values });
  await em.nativeDelete(CredentialSecretRef, { tenantId, connectionId });
  for (const [field, source] of Object.entries(input.secrets)) {
    if (!('secretRef' in source)) continue;
    refuseUnlessMayUseSecrets(call);
    const secretId = await secretIdOf(em, connection, field, source.secretRef);
    em.create(CredentialSecretRef, { tenantId, connectionId, field, secretName: source.secretRef, secretId });
  }
  await em.flush();
}
