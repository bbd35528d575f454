import { createHmac } from 'node:crypto';
import { sameHash } from './constant-time.ts';

const MAC_BYTES = 16;

/** A text that only we can have made, for links: base64url of an HMAC-SHA-256, cut to 128 bits, and the text. */
export function signText(key: Buffer, text: string): string {
  const payload = Buffer.from(text);
  return Buffer.concat([macOf(key, payload), payload]).toString('base64url');
}

/** The text, where it was signed with the key; else null. */
export function verifyText(key: Buffer, signed: string): string | null {
  const bytes = Buffer.from(signed, 'base64url');
  const payload = bytes.subarray(MAC_BYTES);
  if (bytes.length <= MAC_BYTES || !sameHash(macOf(key, payload), bytes.subarray(0, MAC_BYTES))) return null;
  return payload.toString();
}

function macOf(key: Buffer, payload: Buffer): Buffer {
  return createHmac('sha256', key).update(payload).digest().subarray(0, MAC_BYTES);
}
