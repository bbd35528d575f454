import { defineEntity, p } from '@mikro-orm/core';

/** A secret field of a credential that is kept as a named secret. Without `secretId` the secret is missing. */
const schema = defineEntity({
  name: 'CredentialSecretRef',
  tableName: 'credential_secret_ref',
  properties: {
    tenantId: p.text().primary(),
    connectionId: p.text().primary(),
    field: p.text().primary(),
    secretName: p.text(),
    secretId: p.text().strictNullable(),
  },
});

export class CredentialSecretRef extends schema.class {}
schema.setClass(CredentialSecretRef);
