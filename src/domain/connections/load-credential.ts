import { IntegrityError } from '../../crypto/sealed-value.ts';
import { credentialPlace } from '../../model/credential.ts';
import { secretPlace } from '../../model/secret.ts';
import type { App, ReadyCredential } from '../call.ts';

/** Reads a connection's credential and opens its secrets. Null where there is no such connection. Throws IntegrityError. */
export async function loadCredential(
  app: App,
  tenantId: string,
  connectionId: string,
): Promise<ReadyCredential | null> {
  const row = await app.credentialRows.get(tenantId, connectionId);
  if (!row) return null;
  const generation = row.generation ?? 0;
  const place = credentialPlace(tenantId, connectionId, generation);
  const secrets = row.sealed ? parseSecrets(await app.keyring.open(place, row.sealed)) : {};
  const refs = row.refs ?? [];
  for (const { field, secretId, generation, value } of refs) {
    if (secretId === null) continue;
    const opened = await app.keyring.open(secretPlace(tenantId, secretId, generation), Buffer.from(value, 'base64'));
    secrets[field] = opened.toString();
    opened.fill(0);
  }
  return {
    ...{ tenantId, connectionId, generation, secrets },
    ...{ projectId: row.project_id, ownerUserId: row.owner_user_id, enabled: row.enabled, kind: row.kind },
    ...{ provider: row.provider, status: row.status, statusReason: row.status_reason },
    ...{ integrationId: row.integration_id, integrationEnabled: row.integration_enabled ?? true },
    missingRequiredScopes:
      row.kind === 'oauth2' ? (row.required_scopes ?? []).filter((scope) => !row.granted_scopes.includes(scope)) : [],
    fields: row.fields ?? {},
    expireTime: row.expire_time ? new Date(row.expire_time) : null,
    lifetimeS: row.lifetime_s,
    missing: refs.filter((ref) => ref.secretId === null).map(({ field, name }) => ({ field, name })),
    secretIds: refs.flatMap((ref) => ref.secretId ?? []),
    requests: {
      ...{ baseUrl: row.base_url, allowedHosts: row.allowed_hosts, defaultHeaders: row.default_headers },
      ...{ timeoutMs: row.timeout_ms, retries: row.retries, backoffMs: row.backoff_ms },
    },
  };
}

function parseSecrets(plaintext: Buffer): Record<string, string> {
  try {
    return JSON.parse(plaintext.toString()) as Record<string, string>;
  } catch {
    throw new IntegrityError('a sealed credential is not what was sealed');
  } finally {
    plaintext.fill(0);
  }
}
