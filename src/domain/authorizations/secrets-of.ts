import { createHash, randomBytes } from 'node:crypto';
import type { Sealer } from '../../crypto/keyring.ts';
import { type Authorization, authorizationPlace } from '../../model/authorization.ts';
import type { App } from '../call.ts';

/** What of an authorization must not be read by anybody. */
export type AuthorizationSecrets = {
  /** PKCE verifier (RFC 7636); null: the provider takes none. */
  verifier: string | null;
  nonce: string | null;
  /** RFC 8628, section 3.2. */
  deviceCode: string | null;
};

/** 256 random bits, for tickets, states and cookies. */
export function randomText(): string {
  return randomBytes(32).toString('base64url');
}

/** What is kept of such a text: it is random, so that a plain hash hides it. */
export function hashText(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

export function sealSecrets(seal: Sealer, tenantId: string, id: string, secrets: AuthorizationSecrets): Buffer {
  const plaintext = Buffer.from(JSON.stringify(secrets));
  const sealed = seal(authorizationPlace(tenantId, id), plaintext);
  plaintext.fill(0);
  return sealed;
}

/** Throws IntegrityError. */
export async function openSecrets(app: App, { tenantId, id, sealed }: Authorization): Promise<AuthorizationSecrets> {
  if (!sealed) return { verifier: null, nonce: null, deviceCode: null };
  const opened = await app.keyring.open(authorizationPlace(tenantId, id), sealed);
  const secrets = JSON.parse(opened.toString()) as AuthorizationSecrets;
  opened.fill(0);
  return secrets;
}
