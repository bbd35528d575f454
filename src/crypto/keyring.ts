import { createHash, createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { MasterKeys } from './master-keys.ts';
import { IntegrityError, keyIdOf, openBytes, sealBytes } from './sealed-value.ts';

/** Where a sealed value belongs. It opens nowhere else. */
export type Place = { tenantId: string; table: string; column: string; rowId: string; generation: number };

/** Seals bytes for a place of one tenant. */
export type Sealer = (place: Place, plaintext: Buffer) => Buffer;

/** A data key as it is stored. */
export type WrappedDataKey = { id: string; wrapped: Buffer; masterKeyName: string };

/** Where data keys are kept. */
export type DataKeyStore = {
  find(tenantId: string, id: string): Promise<WrappedDataKey | null>;
  /** The id of the key that seals for a tenant, with `seals` more uses counted for it; null where there is none, or its `limit` is reached. */
  reserve(tenantId: string, seals: number, limit: number): Promise<WrappedDataKey | null>;
  /** Makes this the key that seals, unless one that sealed less than `limit` values is there by now. */
  add(tenantId: string, key: WrappedDataKey, limit: number): Promise<void>;
  /** Name of the newest of our master keys that every live replica knows. */
  wrappingKeyName(names: readonly string[]): Promise<string>;
};

type ActiveKey = { id: Buffer; key: KeyObject; sealsLeft: number; until: number };

const KEYS_CACHED = 20_000;
/** How long a replica may go on sealing with a key that was replaced, in ms. */
export const ACTIVE_KEY_MS = 5_000;
/** Uses counted ahead: a crash loses at most these from the count. */
const SEALS_RESERVED = 4_096;

/** Seals and opens values with the data key of their tenant. */
export class Keyring {
  readonly #masterKeys: MasterKeys;
  readonly #store: DataKeyStore;
  readonly #installationId: string;
  readonly #sealsPerKey: number;
  readonly #trusted: () => boolean;
  readonly #keys = new LRUCache<string, KeyObject>({ max: KEYS_CACHED });
  readonly #active = new LRUCache<string, ActiveKey>({ max: KEYS_CACHED });
  readonly #reserving = new Map<string, Promise<ActiveKey>>();
  /** Counts what was forgotten: a key that was being read meanwhile is not kept. */
  #forgotten = 0;

  /**
   * @param sealsPerKey after so many values a tenant gets a new data key; far below 2^32, where random nonces begin to repeat
   * @param trusted whether it would be heard now that keys were destroyed; where not, keys in memory are not believed
   */
  constructor(
    masterKeys: MasterKeys,
    store: DataKeyStore,
    installationId: string,
    sealsPerKey: number,
    trusted: () => boolean = () => true,
  ) {
    this.#masterKeys = masterKeys;
    this.#store = store;
    this.#installationId = installationId;
    this.#sealsPerKey = sealsPerKey;
    this.#trusted = trusted;
  }

  /** The means to seal for a tenant: had before a transaction, so that none waits for a second connection. */
  async sealer(tenantId: string): Promise<Sealer> {
    const active = await this.#activeKey(tenantId);
    return (place, plaintext) => {
      if (place.tenantId !== tenantId) throw new Error('sealed for a tenant with the key of another');
      active.sealsLeft -= 1;
      return sealBytes(active, this.#bytesOf(place), plaintext);
    };
  }

  /** Sees to it that `sealer` need not ask the database for at least half of ACTIVE_KEY_MS. */
  async prepare(tenantId: string): Promise<void> {
    await this.#activeKey(tenantId, ACTIVE_KEY_MS / 2);
  }

  /** Throws IntegrityError where the value was altered or does not belong to this place. */
  async open(place: Place, value: Uint8Array): Promise<Buffer> {
    const sealed = Buffer.from(value.buffer, value.byteOffset, value.byteLength);
    const key = await this.#keyById(place.tenantId, keyIdOf(sealed));
    return openBytes(key, this.#bytesOf(place), sealed);
  }

  /** Gives a tenant a new data key. Replicas seal with the one before for 5 s at most. */
  replaceDataKey(tenantId: string): Promise<void> {
    this.#active.delete(tenantId);
    return this.#addDataKey(tenantId, 0);
  }

  /** Keeps no key of a tenant in memory any more. */
  forget(tenantId: string): void {
    this.#forgotten += 1;
    this.#active.delete(tenantId);
    for (const key of this.#keys.keys()) if (key.startsWith(`${tenantId} `)) this.#keys.delete(key);
  }

  /** Keeps no key in memory any more. */
  clear(): void {
    this.#forgotten += 1;
    this.#active.clear();
    this.#keys.clear();
  }

  async #addDataKey(tenantId: string, limit: number): Promise<void> {
    const masterKeyName = await this.#store.wrappingKeyName(this.#masterKeys.all.map((key) => key.name));
    const id = dataKeyId();
    const bytes = randomBytes(32);
    const wrapped = this.#masterKeys.wrap(masterKeyName, this.#placeOfKey(tenantId, id), bytes);
    bytes.fill(0);
    await this.#store.add(tenantId, { id, wrapped, masterKeyName }, limit);
  }

  /** The same data key, wrapped with the current master key. */
  rewrap(tenantId: string, key: WrappedDataKey): WrappedDataKey {
    const place = this.#placeOfKey(tenantId, key.id);
    const bytes = this.#masterKeys.unwrap(place, key.wrapped);
    const masterKeyName = this.#masterKeys.current.name;
    const wrapped = this.#masterKeys.wrap(masterKeyName, place, bytes);
    bytes.fill(0);
    return { id: key.id, wrapped, masterKeyName };
  }

  async #activeKey(tenantId: string, minLeftMs = 0): Promise<ActiveKey> {
    const known = this.#active.get(tenantId);
    if (known && known.sealsLeft > 0 && performance.now() + minLeftMs < known.until) return known;
    // Once for all who ask meanwhile: each would wait for the others' hold of the row.
    const underWay = this.#reserving.get(tenantId);
    if (underWay) return underWay;
    const reserving = this.#reserve(tenantId).finally(() => this.#reserving.delete(tenantId));
    this.#reserving.set(tenantId, reserving);
    return reserving;
  }

  async #reserve(tenantId: string): Promise<ActiveKey> {
    const seals = Math.min(SEALS_RESERVED, this.#sealsPerKey);
    for (let attempt = 0; attempt < 3; attempt++) {
      const askedAt = performance.now();
      const forgotten = this.#forgotten;
      const stored = await this.#store.reserve(tenantId, seals, this.#sealsPerKey);
      if (!stored) {
        await this.#addDataKey(tenantId, this.#sealsPerKey - seals + 1);
        continue;
      }
      const key = this.#unwrap(tenantId, stored, forgotten);
      const active = { id: keyIdBytes(stored.id), key, sealsLeft: seals, until: askedAt + ACTIVE_KEY_MS };
      if (forgotten === this.#forgotten) this.#active.set(tenantId, active);
      return active;
    }
    throw new Error('no data key to be had for the tenant');
  }

  async #keyById(tenantId: string, idBytes: Buffer): Promise<KeyObject> {
    const id = `dk_${idBytes.toString('hex')}`;
    const known = this.#keys.get(`${tenantId} ${id}`);
    if (known && this.#trusted()) return known;
    const forgotten = this.#forgotten;
    const stored = await this.#store.find(tenantId, id);
    if (stored) return known ?? this.#unwrap(tenantId, stored, forgotten);
    this.#keys.delete(`${tenantId} ${id}`);
    throw new IntegrityError('sealed with a data key that the tenant does not have');
  }

  /** @param forgotten as it was before the key was read */
  #unwrap(tenantId: string, stored: WrappedDataKey, forgotten: number): KeyObject {
    const bytes = this.#masterKeys.unwrap(this.#placeOfKey(tenantId, stored.id), stored.wrapped);
    const key = createSecretKey(bytes);
    bytes.fill(0);
    if (forgotten === this.#forgotten) this.#keys.set(`${tenantId} ${stored.id}`, key);
    return key;
  }

  #placeOfKey(tenantId: string, id: string): Buffer {
    return this.#bytesOf({ tenantId, table: 'data_key', column: 'wrapped', rowId: id, generation: 0 });
  }

  #bytesOf(place: Place): Buffer {
    const { table, column, tenantId, rowId, generation } = place;
    return Buffer.from(JSON.stringify([this.#installationId, table, column, tenantId, rowId, generation]));
  }
}

function dataKeyId(): string {
  return `dk_${randomBytes(16).toString('hex')}`;
}

function keyIdBytes(id: string): Buffer {
  return Buffer.from(id.slice('dk_'.length), 'hex');
}

/** SHA-256, for values that are random enough to need nothing slower. */
export function sha256(value: string | Buffer): Buffer {
  return createHash('sha256').update(value).digest();
}
