import { defineEntity, p } from '@mikro-orm/core';
import type { Place } from '../crypto/keyring.ts';

export type AuthorizationMethod = 'CODE' | 'DEVICE';
/** EXCHANGING: what came back is being turned into tokens. */
export type StoredAuthorizationStatus = 'PENDING' | 'EXCHANGING' | 'SUCCEEDED' | 'FAILED';

/** Who started an authorization; what it stores is done in their name. */
export type Starter = { kind: 'user' | 'api_key' | 'system'; id: string; userId: string | null; address: string };

/** What a person is shown to grant access on another device (RFC 8628, section 3.2). */
export type DevicePrompt = {
  userCode: string;
  verificationUri: string;
  verificationUriComplete: string;
  /** Seconds between polls, as they are now. */
  intervalS: number;
};

/** One attempt to have a person grant access. */
const schema = defineEntity({
  name: 'Authorization',
  tableName: 'app_authorization',
  properties: {
    tenantId: p.text().primary(),
    id: p.text().primary(),
    integrationId: p.text(),
    connectionId: p.text(),
    method: p.text().$type<AuthorizationMethod>(),
    status: p.text().$type<StoredAuthorizationStatus>(),
    reason: p.text(),
    providerError: p.text(),
    starter: p.json<Starter>(),
    ownerByEmail: p.boolean(),
    allowAccountChange: p.boolean(),
    /** The connection becomes the default of its kind once it is authorized. */
    claimsDefault: p.boolean(),
    requestedScopes: p.json<string[]>(),
    missingScopes: p.json<string[]>(),
    returnUrl: p.text(),
    loginHint: p.text(),
    redirectUri: p.text(),
    ticketHash: p.blob().strictNullable(),
    stateHash: p.blob().strictNullable(),
    browserHash: p.blob().strictNullable(),
    codeHash: p.blob().strictNullable(),
    sealed: p.blob().strictNullable(),
    device: p.json<DevicePrompt>().strictNullable(),
    claimTime: p.datetime().strictNullable(),
    expireTime: p.datetime(),
    createTime: p.datetime(),
    updateTime: p.datetime(),
  },
});

export class Authorization extends schema.class {}
schema.setClass(Authorization);

/** Where the secrets of an authorization are sealed for: PKCE verifier and nonce, or the device code. */
export function authorizationPlace(tenantId: string, id: string): Place {
  return { tenantId, table: 'app_authorization', column: 'sealed', rowId: id, generation: 0 };
}
