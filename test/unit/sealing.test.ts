import { createSecretKey, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { type DataKeyStore, Keyring, type Place, type WrappedDataKey } from '../../src/crypto/keyring.ts';
import { MasterKeys } from '../../src/crypto/master-keys.ts';
import { IntegrityError, keyIdOf, openBytes, sealBytes } from '../../src/crypto/sealed-value.ts';

const key = createSecretKey(randomBytes(32));
const sealing = { id: randomBytes(16), key };
const place = Buffer.from('a place');
const PLACE: Place = { tenantId: 't', table: 'secret', column: 'value', rowId: 'sec_1', generation: 1 };

/** Keeps data keys in memory, as the database does in its table. */
function memoryStore(): DataKeyStore & {
  keys: Map<string, WrappedDataKey & { tenantId: string; seals: number; active: boolean }>;
} {
  const keys = new Map<string, WrappedDataKey & { tenantId: string; seals: number; active: boolean }>();
  const activeOf = (tenantId: string) =>
    [...keys.values()].find((stored) => stored.tenantId === tenantId && stored.active);
  return {
    keys,
    find: async (tenantId, id) => (keys.get(id)?.tenantId === tenantId ? keys.get(id)! : null),
    async reserve(tenantId, seals, limit) {
      const active = activeOf(tenantId);
      if (!active || active.seals + seals > limit) return null;
      active.seals += seals;
      return active;
    },
    async add(tenantId, wrapped, limit) {
      const active = activeOf(tenantId);
      if (active && active.seals < limit) return;
      if (active) active.active = false;
      keys.set(wrapped.id, { ...wrapped, tenantId, seals: 0, active: true });
    },
    wrappingKeyName: async (names) => names[0]!,
  };
}

describe('A sealed value', () => {
  it('opens where it was sealed, for any length', () => {
    for (const length of [0, 1, 15, 16, 17, 4096, 70_000]) {
      const plaintext = randomBytes(length);
      expect(openBytes(key, place, sealBytes(sealing, place, plaintext)).equals(plaintext)).toBe(true);
    }
  });

  it('does not open with any single bit flipped, anywhere in it', () => {
    const sealed = sealBytes(sealing, place, Buffer.from('secret'));
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const altered = Buffer.from(sealed);
      altered[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => openBytes(key, place, altered), `bit ${bit}`).toThrow(IntegrityError);
    }
  });

  it('does not open with any bit of its place flipped, or another key', () => {
    const sealed = sealBytes(sealing, place, Buffer.from('secret'));
    for (let bit = 0; bit < place.length * 8; bit++) {
      const elsewhere = Buffer.from(place);
      elsewhere[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => openBytes(key, elsewhere, sealed)).toThrow(IntegrityError);
    }
    expect(() => openBytes(createSecretKey(randomBytes(32)), place, sealed)).toThrow(IntegrityError);
  });

  it('does not open when cut anywhere', () => {
    const sealed = sealBytes(sealing, place, Buffer.from('secret'));
    for (let length = 0; length < sealed.length; length++) {
      expect(() => openBytes(key, place, sealed.subarray(0, length)), `${length} bytes`).toThrow(IntegrityError);
    }
  });

  it('repeats no nonce in a million', () => {
    const nonces = new Set<string>();
    const empty = Buffer.alloc(0);
    for (let i = 0; i < 1_000_000; i++) nonces.add(sealBytes(sealing, place, empty).toString('latin1', 17, 29));
    expect(nonces.size).toBe(1_000_000);
  }, 120_000);

  it('says which key it needs', () => {
    expect(keyIdOf(sealBytes(sealing, place, Buffer.alloc(3))).equals(sealing.id)).toBe(true);
  });
});

describe('The keyring', () => {
  const masterKeys = new MasterKeys(randomBytes(32), null);

  it('opens a value only in its table, column, tenant, row, generation and installation', async () => {
    const store = memoryStore();
    const keyring = new Keyring(masterKeys, store, 'inst_1', 1000);
    const sealed = (await keyring.sealer('t'))(PLACE, Buffer.from('v'));
    expect((await keyring.open(PLACE, sealed)).toString()).toBe('v');
    await keyring.sealer('u');
    for (const moved of [
      { tenantId: 'u' },
      { table: 'credential' },
      { column: 'name' },
      { rowId: 'sec_2' },
      { generation: 2 },
    ]) {
      await expect(keyring.open({ ...PLACE, ...moved }, sealed)).rejects.toThrow(IntegrityError);
    }
    await expect(new Keyring(masterKeys, store, 'inst_2', 1000).open(PLACE, sealed)).rejects.toThrow(IntegrityError);
  });

  it('gives a tenant a new data key after so many values, and still opens the old ones', async () => {
    const store = memoryStore();
    const keyring = new Keyring(masterKeys, store, 'inst_1', 10);
    const sealed: Buffer[] = [];
    for (let i = 0; i < 35; i++)
      sealed.push((await keyring.sealer('t'))({ ...PLACE, generation: i }, Buffer.from(`v${i}`)));
    expect(store.keys.size).toBe(4);
    const used = Map.groupBy(sealed, (value) => keyIdOf(value).toString('hex'));
    for (const values of used.values()) expect(values.length).toBeLessThanOrEqual(10);
    for (const [i, value] of sealed.entries())
      expect((await keyring.open({ ...PLACE, generation: i }, value)).toString()).toBe(`v${i}`);
  });

  it('asks once for all who would seal at a time, and not again while what it got is fresh', async () => {
    const store = memoryStore();
    let asked = 0;
    const counting = {
      ...store,
      reserve: (...of: Parameters<DataKeyStore['reserve']>) => {
        asked += 1;
        return store.reserve(...of);
      },
    };
    const keyring = new Keyring(new MasterKeys(randomBytes(32), null), counting, 'inst_1', 100_000);
    // The first finds that there is no key yet.
    await Promise.all(Array.from({ length: 50 }, () => keyring.sealer('t')));
    expect(asked).toBe(2);
    await Promise.all([keyring.prepare('t'), keyring.sealer('t'), keyring.prepare('t')]);
    expect(asked).toBe(2);
    await keyring.prepare('u');
    expect(asked).toBe(4);
  });

  it('opens after the data keys are wrapped anew, and the old master key opens nothing', async () => {
    const [old, current] = [randomBytes(32), randomBytes(32)];
    const store = memoryStore();
    const before = new Keyring(new MasterKeys(old, null), store, 'inst_1', 1000);
    const sealed = (await before.sealer('t'))(PLACE, Buffer.from('v'));
    const rotating = new Keyring(new MasterKeys(current, old), store, 'inst_1', 1000);
    for (const stored of store.keys.values()) store.keys.set(stored.id, { ...stored, ...rotating.rewrap('t', stored) });
    expect(
      (await new Keyring(new MasterKeys(current, null), store, 'inst_1', 1000).open(PLACE, sealed)).toString(),
    ).toBe('v');
    await expect(new Keyring(new MasterKeys(old, null), store, 'inst_1', 1000).open(PLACE, sealed)).rejects.toThrow(
      IntegrityError,
    );
  });

  it('opens nothing with a key that was destroyed once it was told so, or cannot be told', async () => {
    const store = memoryStore();
    let trusted = true;
    const keyring = new Keyring(masterKeys, store, 'inst_1', 1000, () => trusted);
    const sealed = (await keyring.sealer('t'))(PLACE, Buffer.from('v'));
    const kept = new Map(store.keys);
    store.keys.clear();
    expect((await keyring.open(PLACE, sealed)).toString()).toBe('v');
    trusted = false;
    await expect(keyring.open(PLACE, sealed)).rejects.toThrow(IntegrityError);
    // What was found out stays so.
    trusted = true;
    await expect(keyring.open(PLACE, sealed)).rejects.toThrow(IntegrityError);
    for (const forget of [() => keyring.forget('t'), () => keyring.clear()]) {
      for (const [id, key] of kept) store.keys.set(id, key);
      expect((await keyring.open(PLACE, sealed)).toString()).toBe('v');
      store.keys.clear();
      keyring.forget('u');
      expect((await keyring.open(PLACE, sealed)).toString()).toBe('v');
      forget();
      await expect(keyring.open(PLACE, sealed)).rejects.toThrow(IntegrityError);
    }
  });

  it('keeps no key that was being read while it was told to forget it', async () => {
    const store = memoryStore();
    const sealed = (await new Keyring(masterKeys, store, 'inst_1', 1000).sealer('t'))(PLACE, Buffer.from('v'));
    const reading = Promise.withResolvers<void>();
    const slow = {
      ...store,
      async find(...of: Parameters<DataKeyStore['find']>) {
        const found = await store.find(...of);
        await reading.promise;
        return found;
      },
    };
    const keyring = new Keyring(masterKeys, slow, 'inst_1', 1000);
    const opening = keyring.open(PLACE, sealed);
    store.keys.clear();
    keyring.forget('t');
    reading.resolve();
    // It was read before.
    expect((await opening).toString()).toBe('v');
    await expect(keyring.open(PLACE, sealed)).rejects.toThrow(IntegrityError);
  });

  it('refuses to seal for one tenant with the key of another', async () => {
    const keyring = new Keyring(masterKeys, memoryStore(), 'inst_1', 1000);
    const seal = await keyring.sealer('t');
    expect(() => seal({ ...PLACE, tenantId: 'u' }, Buffer.from('v'))).toThrow();
  });
});
