import { createCipheriv, createDecipheriv, type KeyObject, randomFillSync } from 'node:crypto';

/**
 * A sealed value is `format (1) | key id (16) | nonce (12) | ciphertext | tag (16)`, in bytes: AES-256-GCM (NIST SP 800-38D) with a random nonce.
 * Header and place are authenticated with it, so that it opens nowhere but where it was sealed.
 */
const FORMAT = 1;
const KEY_ID_BYTES = 16;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const HEADER_BYTES = 1 + KEY_ID_BYTES;
const OVERHEAD_BYTES = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;

/** A key with the 16 bytes by which sealed values name it. */
export type SealingKey = { id: Buffer; key: KeyObject };

/** A ciphertext that does not open: altered, moved, or sealed with another key. */
export class IntegrityError extends Error {
  override readonly name = 'IntegrityError';
}

/** Seals bytes for one place. */
export function sealBytes(sealing: SealingKey, place: Buffer, plaintext: Buffer): Buffer {
  const sealed = Buffer.allocUnsafe(OVERHEAD_BYTES + plaintext.length);
  sealed[0] = FORMAT;
  sealing.id.copy(sealed, 1, 0, KEY_ID_BYTES);
  randomFillSync(sealed, HEADER_BYTES, NONCE_BYTES);
  const nonce = sealed.subarray(HEADER_BYTES, HEADER_BYTES + NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', sealing.key, nonce, { authTagLength: TAG_BYTES });
  cipher.setAAD(Buffer.concat([sealed.subarray(0, HEADER_BYTES), place]));
  cipher.update(plaintext).copy(sealed, HEADER_BYTES + NONCE_BYTES);
  cipher.final();
  cipher.getAuthTag().copy(sealed, sealed.length - TAG_BYTES);
  return sealed;
}

/** Opens what was sealed for this place. Throws IntegrityError. */
export function openBytes(key: KeyObject, place: Buffer, sealed: Buffer): Buffer {
  assertFormat(sealed);
  const nonce = sealed.subarray(HEADER_BYTES, HEADER_BYTES + NONCE_BYTES);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(Buffer.concat([sealed.subarray(0, HEADER_BYTES), place]));
  decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
  const plaintext = decipher.update(sealed.subarray(HEADER_BYTES + NONCE_BYTES, sealed.length - TAG_BYTES));
  try {
    decipher.final();
  } catch {
    plaintext.fill(0);
    throw new IntegrityError('a sealed value does not open');
  }
  return plaintext;
}

/** The id of the key that a value was sealed with. Throws IntegrityError where it is no sealed value. */
export function keyIdOf(sealed: Buffer): Buffer {
  assertFormat(sealed);
  return sealed.subarray(1, HEADER_BYTES);
}

function assertFormat(sealed: Buffer): void {
  if (sealed.length < OVERHEAD_BYTES || sealed[0] !== FORMAT) throw new IntegrityError('not a sealed value');
}
