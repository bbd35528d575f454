import { randomBytes, type ScryptOptions, scrypt } from 'node:crypto';
import { sameHash } from '../../crypto/constant-time.ts';

/** The passwords are simulated: cheap on purpose, some ms each. */
const COST: ScryptOptions = { N: 1024, r: 8, p: 1 };
const SALT_BYTES = 16;
const HASH_BYTES = 32;

/** Salt and scrypt hash of a password (RFC 7914), in base64. */
export async function hashPassword(password: string): Promise<string> {
  const salt = randomBytes(SALT_BYTES);
  return Buffer.concat([salt, await derive(password, salt)]).toString('base64');
}

export async function isPassword(password: string, stored: string): Promise<boolean> {
  const bytes = Buffer.from(stored, 'base64');
  return sameHash(await derive(password, bytes.subarray(0, SALT_BYTES)), bytes.subarray(SALT_BYTES));
}

function derive(password: string, salt: Uint8Array): Promise<Buffer> {
  return new Promise((done, fail) => {
    scrypt(password, salt, HASH_BYTES, COST, (error, hash) => (error ? fail(error) : done(hash)));
  });
}
