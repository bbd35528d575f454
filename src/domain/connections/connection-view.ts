import type { Em } from '../../db/transaction.ts';
import type { Connection } from '../../model/connection.ts';
import { ConnectionHealth } from '../../model/connection-health.ts';
import { Credential } from '../../model/credential.ts';
import { CredentialSecretRef } from '../../model/credential-secret-ref.ts';
import { Integration } from '../../model/integration.ts';
import type { JsonObject } from '../../model/json.ts';

/** A connection as it is shown: with what its credential says without the secrets. */
export type ConnectionView = {
  connection: Connection;
  /** Open fields of the credential, and references in place of secrets. */
  configSummary: JsonObject;
  expireTime: Date | null;
  /** It has a refresh token. */
  refreshable: boolean;
  /** Seconds that its access token lived when it was new, where that is known. */
  lifetimeS: number | null;
  /** When a person must grant access again at the latest, where that is known. */
  refreshExpireTime: Date | null;
  /** Where renewing it fails: since when, what the provider said, and when it is tried again. */
  refreshFailure: { since: Date; code: string; nextAttemptTime: Date | null } | null;
  /** Names of secrets that it refers to and that do not exist. */
  missingSecrets: string[];
  /** The integration that it belongs to. */
  integration: Integration | null;
  /** What checks found out; null: it was never checked, and is not checked by itself. */
  health: ConnectionHealth | null;
};

/** Views of connections of one tenant, in their order. */
export async function viewsOf(em: Em, tenantId: string, connections: Connection[]): Promise<ConnectionView[]> {
  const ids = connections.map((connection) => connection.id);
  if (ids.length === 0) return [];
  const credentials = await em.find(Credential, { tenantId, connectionId: { $in: ids } });
  const refs = await em.find(
    CredentialSecretRef,
    { tenantId, connectionId: { $in: ids } },
    { orderBy: { field: 'asc' } },
  );
  const integrationIds = connections.flatMap(({ integrationId }) => integrationId ?? []);
  const integrations = await em.find(Integration, { tenantId, id: { $in: [...new Set(integrationIds)] } });
  const integrationOf = new Map(integrations.map((integration) => [integration.id, integration]));
  const healths = await em.find(ConnectionHealth, { tenantId, connectionId: { $in: ids } });
  const healthOf = new Map(healths.map((health) => [health.connectionId, health]));
  const credentialOf = new Map(credentials.map((credential) => [credential.connectionId, credential]));
  const refsOf = Map.groupBy(refs, (ref) => ref.connectionId);
  return connections.map((connection) => {
    const credential = credentialOf.get(connection.id);
    const own = refsOf.get(connection.id) ?? [];
    const references = Object.fromEntries(own.map((ref) => [ref.field, { secret_ref: ref.secretName }]));
    return {
      connection,
      configSummary: { ...connection.config, ...shownFields(credential), ...references },
      refreshable: credential?.fields.refreshable === true,
      expireTime: credential?.expireTime ?? null,
      lifetimeS: credential?.lifetimeS ?? null,
      refreshExpireTime: credential?.refreshExpireTime ?? null,
      refreshFailure: credential?.failingSince
        ? { since: credential.failingSince, code: credential.failureCode, nextAttemptTime: credential.refreshNotBefore }
        : null,
      integration: integrationOf.get(connection.integrationId ?? '') ?? null,
      health: healthOf.get(connection.id) ?? null,
      missingSecrets: own.filter((ref) => ref.secretId === null).map((ref) => ref.secretName),
    };
  });
}

/** What Latchkey keeps there for itself is shown elsewhere, or not at all. */
function shownFields(credential: Credential | undefined): JsonObject {
  const { kept: _, base_url: __, refreshable: ___, requested_scopes: ____, ...fields } = credential?.fields ?? {};
  return fields;
}

/** The view of one connection. */
export async function viewOf(em: Em, connection: Connection): Promise<ConnectionView> {
  const [view] = await viewsOf(em, connection.tenantId, [connection]);
  return view!;
}
