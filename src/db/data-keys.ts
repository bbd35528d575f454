import type { Pool } from 'pg';
import type { DataKeyStore, WrappedDataKey } from '../crypto/keyring.ts';
import { hot } from './hot.ts';
import { wrappingKeyName } from './replicas.ts';

type DataKeyRow = { id: string; wrapped: Buffer; master_key_name: string };

function fromRow(row: DataKeyRow | undefined): WrappedDataKey | null {
  return row ? { id: row.id, wrapped: row.wrapped, masterKeyName: row.master_key_name } : null;
}

/** Data keys in the table of that name. */
export function dataKeyStore(pool: Pool): DataKeyStore {
  return {
    async find(tenantId, id) {
      const [row] = await hot<DataKeyRow>(pool, 'readDataKey', [tenantId, id]);
      return fromRow(row);
    },
    async reserve(tenantId, seals, limit) {
      const [row] = await hot<DataKeyRow>(pool, 'reserveDataKey', [tenantId, seals, limit]);
      return fromRow(row);
    },
    async add(tenantId, key, limit) {
      await hot(pool, 'addDataKey', [tenantId, key.id, key.wrapped, key.masterKeyName, limit]);
    },
    wrappingKeyName: (names) => wrappingKeyName(pool, names),
  };
}
