import { randomBytes } from 'node:crypto';
import { sameHash } from '../../crypto/constant-time.ts';
import { sha256 } from '../../crypto/keyring.ts';
import type { App } from '../call.ts';

const TEXT = /^lk_([0-9a-hjkmnp-tv-z]{26})_[A-Za-z0-9_-]{43}$/;

/** The id of the operator's key that LATCHKEY_ADMIN_KEY sets, whose text says no id. */
export const ADMIN_KEY_ID = 'key_00000000000000000000000000';

/** The text of a new key: `lk_`, the id's 26 characters, `_`, 32 random bytes in base64url. */
export function apiKeyText(id: string): string {
  return `lk_${id.slice('key_'.length)}_${randomBytes(32).toString('base64url')}`;
}

/** The id of the key that a text claims to be. */
export function apiKeyIdOf(text: string): string {
  const id = TEXT.exec(text)?.[1];
  return id ? `key_${id}` : ADMIN_KEY_ID;
}

/** Whether a text is the one of LATCHKEY_ADMIN_KEY, whatever else it looks like. */
export function isAdminKey({ config }: App, text: string): boolean {
  return config.adminKey !== '' && sameHash(sha256(config.adminKey), sha256(text));
}
