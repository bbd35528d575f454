import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { StartError } from './base/error.ts';
import { MASTER_KEY_BYTES } from './crypto/master-keys.ts';

export type MasterKeyFile = { key: Buffer; path: string; made: boolean };

/** The master key of a data folder, made at first, readable by its owner alone. For development: in production the key is given. */
export function masterKeyFile(dataDir: string): MasterKeyFile {
  const path = join(dataDir, 'master.key');
  if (existsSync(path)) {
    const key = Buffer.from(readFileSync(path, 'utf8').trim(), 'base64');
    if (key.length === MASTER_KEY_BYTES) return { key, path, made: false };
    throw new StartError(
      `${path} does not hold a master key. Restore it from a backup: without it nothing that was sealed can be opened.`,
    );
  }
  const key = randomBytes(MASTER_KEY_BYTES);
  mkdirSync(dataDir, { recursive: true });
  writeFileSync(path, `${key.toString('base64')}\n`, { mode: 0o600, flag: 'wx' });
  return { key, path, made: true };
}
