import { createHash, createSecretKey } from 'node:crypto';
import { IntegrityError, keyIdOf, openBytes, type SealingKey, sealBytes } from './sealed-value.ts';

export const MASTER_KEY_BYTES = 32;

/** A master key and the name by which settings, logs and replicas speak of it: `mk_` and 32 hex digits, a hash of the key. */
export type MasterKey = SealingKey & { name: string };

/** The master keys this process was given, the current one first. They wrap data keys and nothing else. */
export class MasterKeys {
  readonly current: MasterKey;
  readonly all: readonly MasterKey[];

  constructor(current: Buffer, previous: Buffer | null) {
    this.current = masterKey(current);
    this.all = previous ? [this.current, masterKey(previous)] : [this.current];
  }

  /** Wraps with the named key. */
  wrap(name: string, place: Buffer, plaintext: Buffer): Buffer {
    const key = this.all.find((candidate) => candidate.name === name);
    if (!key) throw new Error(`master key ${name} is not among those configured`);
    return sealBytes(key, place, plaintext);
  }

  /** Unwraps with whichever key it was wrapped with. Throws IntegrityError, also where that key is not configured. */
  unwrap(place: Buffer, wrapped: Buffer): Buffer {
    const id = keyIdOf(wrapped);
    const key = this.all.find((candidate) => candidate.id.equals(id));
    if (!key) throw new IntegrityError('wrapped with a master key that is not configured');
    return openBytes(key.key, place, wrapped);
  }
}

function masterKey(bytes: Buffer): MasterKey {
  const id = createHash('sha256').update('latchkey master key id').update(bytes).digest().subarray(0, 16);
  return { id, name: `mk_${id.toString('hex')}`, key: createSecretKey(bytes) };
}
