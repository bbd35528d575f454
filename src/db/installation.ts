import { randomBytes } from 'node:crypto';
import type { Pool, PoolClient } from 'pg';
import { StartError } from '../base/error.ts';
import { newId } from '../base/id.ts';
import type { MasterKeys } from '../crypto/master-keys.ts';
import { IntegrityError } from '../crypto/sealed-value.ts';

/** What one set of tables has that no other has. */
export type Installation = {
  id: string;
  /** Name of the master key that wraps `secret`. */
  masterKeyName: string;
  /** 32 random bytes that authenticate page tokens. */
  secret: Buffer;
};

type Row = { id: string; master_key_name: string; wrapped_secret: Buffer };

const READ = 'select id, master_key_name, wrapped_secret from latchkey.installation';

/**
 * Reads the installation, or founds it where the tables are new. Its secret is the canary: with a wrong master key it does not open.
 * Throws StartError then, naming keys by their names alone.
 */
export async function openInstallation(pool: Pool, keys: MasterKeys): Promise<Installation> {
  const { rows } = await pool.query<Row>(READ);
  if (rows[0]) return unwrapInstallation(rows[0], keys);
  const id = newId('inst');
  const wrapped = keys.wrap(keys.current.name, canaryPlace(id), randomBytes(32));
  await pool.query(
    `insert into latchkey.installation (id, master_key_name, wrapped_secret, create_time) values ($1, $2, $3, now()) on conflict do nothing`,
    [id, keys.current.name, wrapped],
  );
  const founded = await pool.query<Row>(READ);
  return unwrapInstallation(founded.rows[0]!, keys);
}

/** Wraps the installation's secret with the current master key; from then on no process starts without that key. */
export async function rewrapInstallation(client: PoolClient, keys: MasterKeys): Promise<void> {
  const { rows } = await client.query<Row>(`${READ} for update`);
  const { id, secret } = unwrapInstallation(rows[0]!, keys);
  const wrapped = keys.wrap(keys.current.name, canaryPlace(id), secret);
  await client.query('update latchkey.installation set master_key_name = $1, wrapped_secret = $2', [
    keys.current.name,
    wrapped,
  ]);
}

function unwrapInstallation(row: Row, keys: MasterKeys): Installation {
  try {
    const secret = keys.unwrap(canaryPlace(row.id), row.wrapped_secret);
    return { id: row.id, masterKeyName: row.master_key_name, secret };
  } catch (error) {
    if (!(error instanceof IntegrityError)) throw error;
    const given = keys.all.map((key) => key.name).join(', ');
    throw new StartError(
      `The master key is not the one that this database was sealed with.\n  The database needs ${row.master_key_name}; configured: ${given}.\n  Nothing was changed. Set LATCHKEY_MASTER_KEY (or _FILE) to that key.`,
    );
  }
}

function canaryPlace(id: string): Buffer {
  return Buffer.from(JSON.stringify([id, 'installation', 'wrapped_secret']));
}
