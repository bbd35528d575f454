import { Client } from 'pg';
import { newId } from '../../src/base/id.ts';
import { Keyring } from '../../src/crypto/keyring.ts';
import { MasterKeys } from '../../src/crypto/master-keys.ts';
import { dataKeyStore } from '../../src/db/data-keys.ts';
import { openInstallation } from '../../src/db/installation.ts';
import { openOrm, poolOf } from '../../src/db/orm.ts';
import { credentialPlace } from '../../src/model/credential.ts';

const BATCH = 10_000;

type Seed = { url: string; migrationUrl: string; masterKey: string; tenantId: string; count: number };

/** Writes connections with bearer credentials straight into the tables, sealed as the service seals them. Answers their ids. */
export async function seedConnections({ url, migrationUrl, masterKey, tenantId, count }: Seed): Promise<string[]> {
  const orm = await openOrm(url, 4);
  const pool = await poolOf(orm);
  const masterKeys = new MasterKeys(Buffer.from(masterKey, 'base64'), null);
  const installation = await openInstallation(pool, masterKeys);
  const keyring = new Keyring(masterKeys, dataKeyStore(pool), installation.id, 2 ** 30);
  const admin = new Client({ connectionString: migrationUrl });
  await admin.connect();
  const ids: string[] = [];
  try {
    while (ids.length < count) {
      const seal = await keyring.sealer(tenantId);
      const batch = Array.from({ length: Math.min(BATCH, count - ids.length) }, () => newId('conn'));
      const sealed = batch.map((id) =>
        seal(credentialPlace(tenantId, id, 1), Buffer.from('{"token":"sk_live_0123456789"}')),
      );
      await insert(admin, tenantId, batch, sealed);
      ids.push(...batch);
    }
    await admin.query('vacuum analyze latchkey.connection');
    await admin.query('vacuum analyze latchkey.credential');
    return ids;
  } finally {
    await admin.end();
    await orm.close();
  }
}

async function insert(admin: Client, tenantId: string, ids: string[], sealed: Buffer[]): Promise<void> {
  await admin.query(
    `insert into latchkey.connection (tenant_id, id, name, display_name, provider, kind, base_url, default_headers, timeout_ms, retries, backoff_ms, is_default,
       labels, metadata, config, provider_account_id, provider_account_email, provider_account_metadata, enabled, status, status_reason, requested_scopes, granted_scopes, missing_scopes, version, create_time, update_time)
     select $1, id, 'seed ' || id, 'Seed', 'stripe', 'bearer', 'https://api.example', '{}', 8000, 2, 250, false, '{"team": "billing"}', '{}', '{}', '', '', '{}', true, 'ACTIVE', '', '[]', '[]', '[]', 1, now(), now()
     from unnest($2::text[]) id`,
    [tenantId, ids],
  );
  await admin.query(
    `insert into latchkey.credential (tenant_id, connection_id, fields, sealed, generation)
     select $1, id, '{}', sealed, 1 from unnest($2::text[], $3::bytea[]) as t (id, sealed)`,
    [tenantId, ids, sealed],
  );
}
