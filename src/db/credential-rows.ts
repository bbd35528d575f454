import type { Pool } from 'pg';
import { Gatherer } from '../base/gatherer.ts';
import type { CredentialKind, StoredStatus } from '../model/connection.ts';
import type { JsonObject } from '../model/json.ts';
import { hot } from './hot.ts';

/** A connection's credential as it is stored, with the secrets that it refers to. */
export type CredentialRow = {
  id: string;
  project_id: string | null;
  owner_user_id: string | null;
  kind: CredentialKind;
  enabled: boolean;
  provider: string;
  status: StoredStatus;
  status_reason: string;
  integration_id: string | null;
  integration_enabled: boolean | null;
  required_scopes: string[] | null;
  granted_scopes: string[];
  fields: JsonObject | null;
  /** Null: it has no credential yet, or none any more. */
  sealed: Buffer | null;
  generation: number | null;
  expire_time: string | null;
  lifetime_s: number | null;
  refs: SecretRef[] | null;
  base_url: string;
  default_headers: Record<string, string>;
  allowed_hosts: string[];
  timeout_ms: number;
  retries: number;
  backoff_ms: number;
};
type SecretRef = { field: string; name: string; secretId: string | null; generation: number; value: string };

const MOST_ROWS = 100;

/** Rows by tenant and connection. A statement costs far more than a row: what is asked for at once is read at once. */
export function credentialRows(pool: Pool): Gatherer<CredentialRow> {
  return new Gatherer(async (tenantId, connectionIds) => {
    const rows = await hot<CredentialRow>(pool, 'readCredentials', [tenantId, connectionIds]);
    return new Map(rows.map((row) => [row.id, row]));
  }, MOST_ROWS);
}
