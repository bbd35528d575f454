import { LRUCache } from 'lru-cache';
import type { Adapter, AdapterPayload } from 'oidc-provider';

const MAX_ENTRIES = 10_000;

/** What the sandbox remembers: in memory, bounded, gone with the process. It is a toy. */
export function memoryAdapter(): (model: string) => Adapter {
  const entries = new LRUCache<string, AdapterPayload>({ max: MAX_ENTRIES });
  return (model) => {
    const key = (id: string) => `${model} ${id}`;
    const where = async (matches: (payload: AdapterPayload) => boolean) =>
      [...entries].find(([name, payload]) => name.startsWith(key('')) && matches(payload))?.[1];
    return {
      async upsert(id, payload, expiresInS) {
        entries.set(key(id), payload, expiresInS ? { ttl: expiresInS * 1000 } : {});
      },
      find: async (id) => entries.get(key(id)),
      findByUid: (uid) => where((payload) => payload.uid === uid),
      findByUserCode: (userCode) => where((payload) => payload.userCode === userCode),
      async consume(id) {
        const payload = entries.get(key(id));
        if (payload) payload.consumed = Math.floor(Date.now() / 1000);
      },
      async destroy(id) {
        entries.delete(key(id));
      },
      async revokeByGrantId(grantId) {
        for (const [name, payload] of [...entries]) if (payload.grantId === grantId) entries.delete(name);
      },
    };
  };
}
